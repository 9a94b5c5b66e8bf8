"""The sidecar on a node with GPUs (the stand-in's): its files, and drivers in trouble."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitors.exports.export import ExportError
from monitors.external.dmon import DmonReader
from monitors.external.vmstat import VmstatReader
from monitors.records import End, GpuTable, Note, Start, Tick
from tests.monitors.running import end, of_kind, start_sidecar, table, wait_for_ticks

HEADER = """\
#Date        Time         gpu    pwr  gtemp  mtemp     sm    mem    enc    dec    jpg    ofa   mclk   pclk  rxpci  txpci 
#YYYYMMDD    HH:MM:SS     Idx      W      C      C      %      %      %      %      %      %    MHz    MHz   MB/s   MB/s 
"""  # noqa: E501, W291


def test_a_dmon_row_for_every_gpu_and_tick(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out, library=fake_nvml, TZ="ABC-3:30", FAKE_NVML_GPUS="3")
    wait_for_ticks(process, out, 22)
    end(process)
    (head,) = of_kind(out, Start)
    assert (head.zone, head.utc_offset_s, head.gpu_problem) == ("ABC", 12600, None)
    assert [info.index for info in head.gpus] == [0, 1, 2]
    ticks = of_kind(out, Tick)
    assert all(tick.gpus is not None and len(tick.gpus) == 3 for tick in ticks)

    text = "".join(table(out, "dmon"))
    assert text.startswith(HEADER)
    assert text.count(HEADER) == 1 + (len(ticks) - 1) // 20
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(rows) == 3 * len(ticks)
    for at, row in enumerate(rows):
        gpu, tick = at % 3, ticks[at // 3]
        stamp = time.strftime("%Y%m%d    %H:%M:%S", time.gmtime(tick.wall + 12600))
        known = (100 + 10 * gpu, 40 + gpu, 60 + gpu, 50 + gpu, 20 + gpu, 1, 2, 3, 4, 1215, 1410)
        cells = "".join(f"{value:7d}" for value in known)
        assert re.fullmatch(rf" {stamp}{gpu:8d}{cells}( {{6}}-|[ \d]{{7}}){{2}} ", row), row
    assert any(not row.endswith("-      - ") for row in rows)

    reader = DmonReader(table(out, "dmon"))
    assert [row.gpu for row in reader] == [0, 1, 2] * len(ticks)
    assert reader.skipped == 0


def test_a_value_that_is_not_supported_is_a_dash(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    refused = "field82,nvmlDeviceGetJpgUtilization,nvmlDeviceGetOfaUtilization"
    process = start_sidecar(out, library=fake_nvml, FAKE_NVML_UNSUPPORTED=refused)
    wait_for_ticks(process, out, 2)
    end(process)
    for row in DmonReader(table(out, "dmon")):
        assert {name for name in ("mtemp", "jpg", "ofa", "sm") if row.values[name] is None} == {
            "mtemp",
            "jpg",
            "ofa",
        }
    assert all(len(line.split()) == 16 for line in table(out, "dmon") if line[0] != "#")
    ticks = [
        line
        for line in (out / "n1.samples.jsonl").read_text().splitlines()
        if '"kind":"tick"' in line
    ]
    assert ticks
    assert not any(name in line for line in ticks for name in ("jpg_pct", "memory_temperature"))


def test_a_gpu_lost_midway_is_noted_and_the_other_goes_on(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out, library=fake_nvml, FAKE_NVML_LOST="0", FAKE_NVML_LOST_AFTER="3")
    ticks = wait_for_ticks(process, out, 6)
    end(process)
    (note,) = of_kind(out, Note)
    assert note.text.startswith("GPU 0 is no longer sampled")
    rows = list(DmonReader(table(out, "dmon")))
    assert [row.values["pwr"] for row in rows if row.gpu == 0][:6] == [100] * 3 + [None] * 3
    assert {row.values["pwr"] for row in rows if row.gpu == 1} == {110}
    assert all(tick.host.load1 is not None for tick in ticks)


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"FAKE_NVML_GPUS": "0"}, "no GPU"),
        ({"FAKE_NVML_INIT_ERROR": "9"}, "Driver"),
        ({"FAKE_NVML_CODES": "nvmlInitWithFlags=4"}, "Permission"),
        ({"FAKE_NVML_CODES": "nvmlDeviceGetHandleByIndex_v2=15"}, "GPU 0 cannot be sampled"),
    ],
)
def test_says_why_no_gpu_is_sampled(
    tmp_path: Path, fake_nvml: Path, env: dict[str, str], problem: str
) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out, library=fake_nvml, **env)
    wait_for_ticks(process, out, 2)
    end(process)
    (head,) = of_kind(out, Start)
    assert problem in head.gpu_problem
    with pytest.raises(ExportError, match="no sample of a GPU"):
        table(out, "dmon")


def test_a_driver_that_hangs_stops_neither_the_host_nor_the_end(
    tmp_path: Path, fake_nvml: Path
) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(
        out,
        library=fake_nvml,
        FAKE_NVML_BLOCK="nvmlDeviceGetPowerUsage",
        FAKE_NVML_BLOCK_AFTER="6",  # three ticks of two GPUs
    )
    ticks = wait_for_ticks(process, out, 8)
    assert end(process) < 1
    assert [tick.gpus is not None for tick in ticks] == [True] * 3 + [False] * (len(ticks) - 3)
    assert all(tick.host.load1 is not None for tick in ticks)
    (note,) = of_kind(out, Note)
    assert "do not answer" in note.text
    assert len(list(VmstatReader(table(out, "vmstat")))) >= 7
    assert len(list(DmonReader(table(out, "dmon")))) == 6
    (foot,) = of_kind(out, End)
    assert foot.reason == "SIGTERM"


def test_a_driver_that_answers_late_is_sampled_again(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(
        out,
        library=fake_nvml,
        FAKE_NVML_BLOCK="nvmlDeviceGetPowerUsage",
        FAKE_NVML_BLOCK_AFTER="4",
        FAKE_NVML_BLOCK_MS="400",
    )
    ticks = wait_for_ticks(process, out, 9)
    end(process)
    answered = [tick.gpus is not None for tick in ticks]
    assert answered[:3] == [True, True, False]
    assert answered[-1]
    assert ["do not answer" in note.text for note in of_kind(out, Note)] == [True, False]
    assert of_kind(out, Note)[1].text == "the GPUs answer again"


@pytest.fixture(scope="module")
def slow_to_open(
    tmp_path_factory: pytest.TempPathFactory, fake_nvml: Path
) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """Sidecars whose driver takes longer to open than they wait; together, for it takes 3 s."""
    folder = tmp_path_factory.mktemp("slow")
    cases = {
        "never": {},
        "late": {"FAKE_NVML_BLOCK_MS": "3500"},
        "late refusal": {"FAKE_NVML_BLOCK_MS": "3500", "FAKE_NVML_INIT_ERROR": "9"},
    }
    running = {
        name: (
            start_sidecar(
                folder / name,
                library=fake_nvml,
                FAKE_NVML_BLOCK="nvmlInitWithFlags",
                **env,
            ),
            folder / name,
        )
        for name, env in cases.items()
    }
    yield running
    for process, _ in running.values():
        process.kill()
        process.communicate()


Slow = dict[str, tuple[subprocess.Popen[str], Path]]


def test_a_driver_that_never_opens_is_not_waited_for(slow_to_open: Slow) -> None:
    process, out = slow_to_open["never"]
    wait_for_ticks(process, out, 3)
    assert end(process) < 1
    (head,) = of_kind(out, Start)
    assert head.gpu_problem == "the driver has not listed the GPUs yet"
    assert len(of_kind(out, End)) == 1


def test_gpus_that_turn_up_late_are_listed_and_sampled(slow_to_open: Slow) -> None:
    process, out = slow_to_open["late"]
    wait_for_ticks(process, out, 10)
    end(process)
    (table,) = of_kind(out, GpuTable)
    assert [info.name for info in table.gpus] == ["Fake A100 80GB"] * 2
    answered = [tick.gpus is not None for tick in of_kind(out, Tick)]
    assert answered == sorted(answered)
    assert answered[-1]


def test_a_refusal_that_comes_late_is_noted(slow_to_open: Slow) -> None:
    process, out = slow_to_open["late refusal"]
    wait_for_ticks(process, out, 10)
    end(process)
    (note,) = of_kind(out, Note)
    assert "Driver" in note.text


def test_a_signal_cuts_the_wait_for_the_driver_short(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out, library=fake_nvml, FAKE_NVML_BLOCK="nvmlInitWithFlags")
    deadline = time.monotonic() + 10
    while not (out / "n1.samples.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert end(process, signal.SIGTERM) < 1
    assert [foot.ticks for foot in of_kind(out, End)] == [0]
