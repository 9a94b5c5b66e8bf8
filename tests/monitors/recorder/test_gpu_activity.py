"""What GPUs do within a second: GPM, NVLink, fast power; the parts MIG makes. Over the stand-in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from monitors.recorder.devices.field_values import rough
from monitors.recorder.devices.schedule import Schedule
from tests.monitors.running import Probe, probe

GPM = ("sm_active_pct", "tensor_active_pct", "dram_active_pct")
NVLINK = ("nvlink_rx_mb_s", "nvlink_tx_mb_s")
RING = ("power_max_w", "power_min_w", "power_mean_w")


def column(found: Probe, gpu: int, name: str) -> list[Any]:
    return [getattr(tick[gpu], name) for tick in found.ticks]


def asked(found: Probe, gpu: int, name: str) -> list[int]:
    return [n for n, value in enumerate(column(found, gpu, name)) if value is not None]


def known(found: Probe, gpu: int, name: str) -> list[Any]:
    return [value for value in column(found, gpu, name) if value is not None]


def test_activity_is_of_the_time_since_the_last_turn_and_nothing_waits(fake_nvml: Path) -> None:
    """The stand-in refuses two samples that lie less than 90 ms apart."""
    found = probe(fake_nvml, ticks=12, pause_s=0.025)
    for gpu, turns in ((0, [5, 10]), (1, [4, 9])):
        assert asked(found, gpu, "tensor_active_pct") == turns
        values = (60 + gpu, 41 + gpu, 30 + gpu)
        assert [known(found, gpu, name)[0] for name in GPM] == [*values]
    assert found.notes == []


def test_samples_too_close_together_are_not_compared(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=12, pause_s=0.001)
    assert all(asked(found, gpu, name) == [] for gpu in (0, 1) for name in GPM)
    assert found.notes == []


@pytest.mark.parametrize(
    "env",
    [
        {"FAKE_NVML_UNSUPPORTED": "gpm"},
        {"FAKE_NVML_CODES": "nvmlGpmQueryDeviceSupport=13"},
        {"FAKE_NVML_CODES": "nvmlGpmSampleGet=4"},
    ],
)
def test_a_gpu_without_gpm_or_leave_to_use_it(fake_nvml: Path, env: dict[str, str]) -> None:
    found = probe(fake_nvml, ticks=12, pause_s=0.025, **env)
    assert all(asked(found, gpu, name) == [] for gpu in (0, 1) for name in GPM)
    assert known(found, 0, "nvlink_tx_mb_s"), "that needs no GPM"
    assert found.notes == []


def test_leave_that_is_taken_midway_is_noted_once_and_the_rest_goes_on(fake_nvml: Path) -> None:
    found = probe(
        fake_nvml,
        ticks=21,
        pause_s=0.025,
        FAKE_NVML_GPUS="1",
        FAKE_NVML_CODES="nvmlGpmSampleGet=4@2",
    )
    assert asked(found, 0, "sm_active_pct") == [5]
    (note,) = found.notes
    assert note.startswith("GPU 0: activity failed:")
    assert column(found, 0, "power_w") == [100] * 21


def test_a_metric_that_is_refused_is_unknown(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=12, pause_s=0.025, FAKE_NVML_UNSUPPORTED="metric5")
    assert asked(found, 0, "tensor_active_pct") == []
    assert asked(found, 0, "sm_active_pct") == [5, 10]


def test_nvlink_counts_all_links(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=12, pause_s=0.05)
    assert asked(found, 0, "nvlink_rx_mb_s") == [0, 5, 10]
    assert asked(found, 1, "nvlink_tx_mb_s") == [0, 4, 9]
    assert known(found, 0, "nvlink_rx_mb_s")[1:] == pytest.approx([200e3] * 2, rel=0.02)
    assert known(found, 0, "nvlink_tx_mb_s")[1:] == pytest.approx([300e3] * 2, rel=0.02)


def test_without_counters_gpm_tells_of_nvlink(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=12, pause_s=0.025, FAKE_NVML_UNSUPPORTED="field138,field139")
    assert known(found, 0, "nvlink_rx_mb_s") == pytest.approx([1048.576] * 2, rel=0.01)
    assert known(found, 0, "nvlink_tx_mb_s") == pytest.approx([2097.152] * 2, rel=0.01)


def test_without_either_nvlink_is_unknown(fake_nvml: Path) -> None:
    refused = "gpm,field138,field139"
    found = probe(fake_nvml, ticks=12, FAKE_NVML_UNSUPPORTED=refused)
    assert all(known(found, gpu, name) == [] for gpu in (0, 1) for name in NVLINK)


@pytest.mark.parametrize("rate", [0.2, 0.6, 3.0, 127.4, 900.0, 12345.6, 449_999.0, 1.8e6])
def test_a_rate_is_recorded_to_a_hundredth(rate: float) -> None:
    assert abs(rough(rate) - rate) <= max(0.5, rate / 100)


def test_fast_power_is_told_from_the_drivers_own_readings(fake_nvml: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = probe(fake_nvml, ticks=46, pause_s=0.06, FAKE_NVML_GPUS="1", FAKE_NVML_LOG=str(log))
    told = asked(found, 0, "power_max_w")
    sample = found.ticks[told[-1]][0]
    assert (sample.power_min_w, sample.power_max_w) == (100, 149), "a second holds all of them"
    assert sample.power_mean_w == pytest.approx(124.5, abs=4)
    calls = log.read_text().split().count("nvmlDeviceGetSamples")
    assert calls <= 2 * 5, "once a second, two calls each, the first to make room"


def test_what_the_driver_gathered_before_the_record_began_is_not_told(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=1, FAKE_NVML_GPUS="1")
    early = found.ticks[0][0]
    assert early.power_max_w is None or early.power_max_w - (early.power_min_w or 0) < 10


def test_a_driver_without_readings(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=6, FAKE_NVML_UNSUPPORTED="nvmlDeviceGetSamples")
    assert all(known(found, 0, name) == [] for name in RING)
    assert found.notes == []


def test_parts_of_a_gpu_are_told_through_gpm_alone(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=3, pause_s=0.11, FAKE_NVML_MIG="2")
    assert [(info.index, (info.uuid or "")[:4]) for info in found.table] == [
        (index, "MIG-") for index in range(4)
    ]
    assert len({info.uuid for info in found.table}) == 4
    first, second, third, _ = found.ticks[2]
    assert (first.sm_pct, second.sm_pct, third.sm_pct) == (80, 90, 81)
    assert (first.sm_active_pct, first.tensor_active_pct, first.dram_active_pct) == (70, 51, 40)
    assert (first.memory_used_mib, third.memory_used_mib) == (10240, 11264)
    assert (first.power_w, first.energy_j, first.pcie_rx_mb_s) == (None, None, None)
    assert (first.temperature_c, third.temperature_c) == (40, 41)
    assert found.notes == []


def test_a_whole_gpu_is_not_taken_for_a_divided_one(fake_nvml: Path) -> None:
    found = probe(fake_nvml, FAKE_NVML_UNSUPPORTED="nvmlDeviceGetMigMode")
    assert [info.index for info in found.table] == [0, 1]
    assert found.ticks[0][0].sm_pct == 50


def test_turns_come_one_after_the_other() -> None:
    turns = [Schedule(5, index) for index in (0, 1)]
    due = [[turn.due() for turn in turns] for _ in range(11)]
    assert [n for n, (first, _) in enumerate(due) if first] == [0, 5, 10]
    assert [n for n, (_, second) in enumerate(due) if second] == [0, 4, 9]


def test_a_turn_that_comes_too_soon_is_left_out() -> None:
    turn = Schedule(1, 0, least_s=60)
    assert [turn.due() for _ in range(3)] == [True, False, False]


def test_where_ticks_are_far_apart_each_is_a_turn() -> None:
    turn = Schedule(30, 0, most_s=0.01)
    due = []
    for _ in range(4):
        due.append(turn.due())
        time.sleep(0.02)
    assert due == [True] * 4
