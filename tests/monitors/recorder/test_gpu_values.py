"""What NVML answers, value by value: the true binding over the compiled stand-in."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from monitors.records import GpuInfo, GpuSample
from tests.monitors.running import probe

# Every value, and the call (or field) of NVML whose refusal must make it unknown.
SOURCES = {
    "power_w": "nvmlDeviceGetPowerUsage",
    "temperature_c": "nvmlDeviceGetTemperature",
    "memory_temperature_c": "field82",
    "sm_pct": "nvmlDeviceGetUtilizationRates",
    "mem_pct": "nvmlDeviceGetUtilizationRates",
    "enc_pct": "nvmlDeviceGetEncoderUtilization",
    "dec_pct": "nvmlDeviceGetDecoderUtilization",
    "jpg_pct": "nvmlDeviceGetJpgUtilization",
    "ofa_pct": "nvmlDeviceGetOfaUtilization",
    "memory_clock_mhz": "nvmlDeviceGetClockInfo",
    "sm_clock_mhz": "nvmlDeviceGetClockInfo",
    "memory_used_mib": "nvmlDeviceGetMemoryInfo_v2",
    "throttle": "nvmlDeviceGetCurrentClocksEventReasons",
    "energy_j": "nvmlDeviceGetTotalEnergyConsumption",
}


def expected(index: int) -> dict[str, object]:
    """What the stand-in says of one GPU, worked out from its source."""
    return {
        "index": index,
        "power_w": 100 + 10 * index,
        "temperature_c": 40 + index,
        "memory_temperature_c": 60 + index,
        "sm_pct": 50 + index,
        "mem_pct": 20 + index,
        "enc_pct": 1,
        "dec_pct": 2,
        "jpg_pct": 3,
        "ofa_pct": 4,
        "memory_clock_mhz": 1215,
        "sm_clock_mhz": 1410,
        "memory_used_mib": 10240 + 1024 * index,
        "throttle": 4,
    }


def plain(sample: GpuSample) -> dict[str, object]:
    """The values that are asked for in every tick, and do not grow."""
    return {name: getattr(sample, name) for name in expected(0)}


def calls(log: Path, name: str) -> int:
    return sum(line.split()[0] == name for line in log.read_text().splitlines())


def test_every_gpu_with_its_own_values(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=2, FAKE_NVML_GPUS="3")
    assert found.table == tuple(
        GpuInfo(
            index=index,
            uuid=f"GPU-00000000-0000-0000-0000-{index:012d}",
            name="Fake A100 80GB",
            pci_bus=f"00000000:{16 + index:02X}:00.0",
            memory_total_mib=81920,
            power_limit_w=400,
        )
        for index in range(3)
    )
    for tick in found.ticks:
        assert [plain(sample) for sample in tick] == [expected(index) for index in range(3)]
    assert found.notes == []


def test_traffic_is_the_difference_of_the_counters(fake_nvml: Path) -> None:
    first, *later = probe(fake_nvml, ticks=7, pause_s=0.05).ticks[1:]
    assert first[0].pcie_rx_mb_s is not None
    received = [sample.pcie_rx_mb_s for tick in later for sample in tick]
    sent = [sample.pcie_tx_mb_s for tick in later for sample in tick]
    assert statistics.median(value or 0 for value in received) == pytest.approx(5, rel=0.1)
    assert statistics.median(value or 0 for value in sent) == pytest.approx(7, rel=0.1)


def test_energy_is_asked_every_tenth_tick_and_never_of_all_at_once(
    fake_nvml: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    ticks = probe(fake_nvml, ticks=21, FAKE_NVML_LOG=str(log)).ticks
    asked = [
        [n for n, tick in enumerate(ticks) if tick[gpu].energy_j is not None] for gpu in (0, 1)
    ]
    assert asked == [[0, 10, 20], [0, 9, 19]]
    assert calls(log, "nvmlDeviceGetTotalEnergyConsumption") == 6
    first, last = ticks[0][0].energy_j, ticks[20][0].energy_j
    assert first is not None
    assert last is not None
    assert 0 <= last - first < 100 * 10  # 100 W over some milliseconds: joules, not millijoules


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_not_supported_is_unknown_and_asked_once(
    fake_nvml: Path, tmp_path: Path, name: str
) -> None:
    log, call = tmp_path / "log", SOURCES[name]
    found = probe(fake_nvml, ticks=4, FAKE_NVML_UNSUPPORTED=call, FAKE_NVML_LOG=str(log))
    silent = {value for value, source in SOURCES.items() if source == call}
    for at, tick in enumerate(found.ticks):
        for sample in tick:
            for value in SOURCES:
                known = value not in silent and (value != "energy_j" or at == 0)
                assert (getattr(sample, value) is not None) == known, value
    per_gpu = len(silent) if call == "nvmlDeviceGetClockInfo" else 1
    assert calls(log, call) == 2 * per_gpu
    assert found.notes == []


@pytest.mark.parametrize("code", ["4", "13", "2"])
def test_no_permission_and_no_such_call_are_unknown_too(fake_nvml: Path, code: str) -> None:
    """As on a GPU in MIG mode, which refuses to tell memory and use of the whole."""
    refused = ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetUUID", "field82")
    codes = ",".join(f"{name}={code}" for name in refused)
    found = probe(fake_nvml, ticks=2, FAKE_NVML_CODES=codes)
    assert [info.uuid for info in found.table] == [None, None]
    for tick in found.ticks:
        for sample in tick:
            assert (sample.sm_pct, sample.mem_pct, sample.memory_temperature_c) == (None,) * 3
            assert sample.power_w is not None
    assert found.notes == []


def test_no_fields_at_all(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=2, FAKE_NVML_UNSUPPORTED="nvmlDeviceGetFieldValues")
    for at, tick in enumerate(found.ticks):
        assert [sample.memory_temperature_c for sample in tick] == [None, None]
        assert [sample.pcie_rx_mb_s for sample in tick] == ([3, None] if at == 0 else [None, 3])


def test_without_counters_one_gpu_a_tick_bears_the_slow_call(
    fake_nvml: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    found = probe(
        fake_nvml,
        ticks=7,
        FAKE_NVML_GPUS="3",
        FAKE_NVML_UNSUPPORTED="field197,field198",
        FAKE_NVML_LOG=str(log),
    )
    for at, tick in enumerate(found.ticks):
        for sample in tick:
            known = (3.0, 2.0) if sample.index == at % 3 else (None, None)
            assert (sample.pcie_rx_mb_s, sample.pcie_tx_mb_s) == known
            assert sample.memory_temperature_c is not None
    assert calls(log, "nvmlDeviceGetPcieThroughput") == 2 * 7
    assert calls(log, "field197") == 3


def test_an_old_driver_is_asked_the_old_way(fake_nvml: Path) -> None:
    newer = ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCurrentClocksEventReasons")
    found = probe(fake_nvml, FAKE_NVML_CODES=",".join(f"{name}=13" for name in newer))
    assert [info.memory_total_mib for info in found.table] == [81920, 81920]
    assert [sample.memory_used_mib for sample in found.ticks[0]] == [10840, 11864]
    assert [sample.throttle for sample in found.ticks[0]] == [4, 4]


def test_what_fails_may_come_back_and_is_told_once(fake_nvml: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = probe(
        fake_nvml,
        ticks=4,
        FAKE_NVML_CODES="nvmlDeviceGetPowerUsage=999",
        FAKE_NVML_LOG=str(log),
    )
    assert all(sample.power_w is None for tick in found.ticks for sample in tick)
    assert calls(log, "nvmlDeviceGetPowerUsage") == 2 * 4
    assert [note.split(" failed")[0] for note in found.notes] == ["GPU 0: power", "GPU 1: power"]


def test_a_lost_gpu_is_told_once_and_left_alone(fake_nvml: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = probe(
        fake_nvml,
        ticks=5,
        FAKE_NVML_LOST="1",
        FAKE_NVML_LOST_AFTER="2",
        FAKE_NVML_LOG=str(log),
    )
    assert [tick[1].power_w for tick in found.ticks] == [110, 110, None, None, None]
    assert [tick[1] for tick in found.ticks[3:]] == [GpuSample(1)] * 2
    assert all(plain(tick[0]) == expected(0) for tick in found.ticks)
    (note,) = found.notes
    assert note.startswith("GPU 1 is no longer sampled")
    asked_after = log.read_text().split("nvmlDeviceGetPowerUsage 1\n")[-1]
    assert sum(line.endswith(" 1") for line in asked_after.splitlines()) == 1


def test_a_gpu_lost_from_the_start_does_not_cost_the_others(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=2, FAKE_NVML_GPUS="3", FAKE_NVML_LOST="1")
    assert [info.index for info in found.table] == [0, 2]
    for tick in found.ticks:
        assert [plain(sample) for sample in tick] == [expected(0), expected(2)]
    (note,) = found.notes
    assert note.startswith("GPU 1 cannot be sampled")


def test_the_choice_of_cuda_does_not_change_what_is_recorded(fake_nvml: Path) -> None:
    """NVML numbers what the cgroup shows; the UUID ties that to what CUDA calls it."""
    found = probe(fake_nvml, CUDA_VISIBLE_DEVICES="1")
    assert [info.index for info in found.table] == [0, 1]
    assert [plain(sample) for sample in found.ticks[0]] == [expected(0), expected(1)]


def test_a_cgroup_that_shows_one_gpu(fake_nvml: Path) -> None:
    found = probe(fake_nvml, FAKE_NVML_GPUS="1")
    assert [plain(sample) for sample in found.ticks[0]] == [expected(0)]
