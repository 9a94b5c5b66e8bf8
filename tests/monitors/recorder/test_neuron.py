"""AWS Trainium, over a stand-in for neuron-monitor: what its reports become."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from monitors.recorder.devices import neuron, nvml
from monitors.recorder.devices.detect import AnySource
from monitors.recorder.devices.neuron import NeuronSource
from monitors.recorder.devices.neuron_report import core_samples, core_table, visible_cores
from monitors.recorder.interfaces import DeviceError
from monitors.records import GpuInfo, GpuSample, Note, Start
from tests.monitors.neuron_monitor import report, stand_in, without_program
from tests.monitors.running import end, of_kind, start_sidecar, wait_for_ticks

NAME = "AWS NeuronCore v2 trainium trn1.2xlarge"
TABLE = (
    GpuInfo(0, name=NAME, memory_total_mib=16384.0),
    GpuInfo(1, name=NAME, memory_total_mib=16384.0),
)
BUSY = (
    GpuSample(0, sm_pct=87.2, memory_used_mib=9216.0),
    GpuSample(1, sm_pct=0.0, memory_used_mib=0.0),
)


def changed(group: str, **values: Any) -> dict[str, Any]:
    found = report()
    found["neuron_runtime_data"][0]["report"][group] |= values
    return found


def test_the_sidecar_records_the_cores_and_ends_the_program(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path / "bin", report())
    empty = tmp_path / "libnvidia-ml.so.1"
    empty.write_bytes(b"not a library")
    out = tmp_path / "metrics"
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    process = start_sidecar(out, library=tmp_path, PATH=path)
    ticks = wait_for_ticks(process, out, 3)
    children = Path(f"/proc/{process.pid}/task")
    (child,) = [
        int(word) for task in children.iterdir() for word in (task / "children").read_text().split()
    ]
    end(process, signal.SIGTERM)
    (head,) = of_kind(out, Start)
    assert (head.gpus, head.gpu_problem) == (TABLE, None)
    assert ticks[-1].gpus == BUSY, "no power, no clock: what no report holds is unknown"
    assert [note.text for note in of_kind(out, Note)] == [
        "neuron-monitor: device 0 mem_ecc_uncorrected 2"
    ]
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_is_looked_for_where_there_is_no_other_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml, "nv", None)
    monkeypatch.setattr(nvml, "NO_BINDING", "no binding here")
    monkeypatch.setenv("NEURON_RT_VISIBLE_CORES", "1")
    tools = tmp_path / "opt/aws/neuron/bin"
    tools.mkdir(parents=True)
    stand_in(tools, without_program())
    source = AnySource(tmp_path)
    assert source.open() == TABLE[1:], "of this job alone"
    assert source.sample(0) == (GpuSample(1, sm_pct=0.0, memory_used_mib=0.0),)


def test_an_old_report_says_nothing_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron, "STALE_S", 0.5)
    source = NeuronSource(str(stand_in(tmp_path, report(), then="hang")))
    source.open()
    assert source.sample(0) == BUSY
    time.sleep(0.6)
    assert source.sample(1) == (GpuSample(0), GpuSample(1))
    assert source.sample(2) == (GpuSample(0), GpuSample(1))
    assert source.notes()[1:] == ("neuron-monitor prints nothing any more: its values are unknown",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["Traceback (most recent call last):", "[1]", "{" * 100_000], "ended with code 3"),
        (
            [report(neuron_hardware_info={"error": "the driver\nis not loaded"})],
            "^the driver is not loaded$",
        ),
        ([report(neuron_hardware_info={})], "reports no Neuron device"),
    ],
)
def test_without_cores_the_reason_is_named(tmp_path: Path, lines: list[Any], message: str) -> None:
    source = NeuronSource(str(stand_in(tmp_path, *lines, then="end")))
    with pytest.raises(DeviceError, match=message):
        source.open()


@pytest.mark.parametrize(
    ("changes", "busy", "memory"),
    [
        (changed("neuroncore_counters", error="cannot read"), None, 9216.0),
        (changed("neuroncore_counters", neuroncores_in_use={"0": {}}), None, 9216.0),
        (changed("neuroncore_counters", neuroncores_in_use={"x": {}}), None, 9216.0),
        (changed("memory_used", neuron_runtime_used_bytes={"host": 3}), 87.2, None),
        (report(neuron_runtime_data=None), None, None),
        (report(neuron_runtime_data=[{"error": "gone", "report": {}}]), None, None),
        ({}, None, None),
    ],
)
def test_unknown_stays_unknown(
    changes: dict[str, Any], busy: float | None, memory: float | None
) -> None:
    first = core_samples(changes, [0])[0]
    assert (first.sm_pct, first.memory_used_mib) == (busy, memory)


def test_two_programs_on_a_core_are_added() -> None:
    twice = report()
    twice["neuron_runtime_data"] *= 2
    (first,) = core_samples(twice, [0])
    assert (first.sm_pct, first.memory_used_mib) == (100.0, 18432.0)


def test_trainium_2_counts_logical_cores() -> None:
    hardware = {
        "neuron_device_type": "trainium2",
        "neuroncore_version": "v3d",
        "neuron_device_count": 16,
        "neuron_device_memory_size": 103079215104,
        "neuroncore_per_device_count": 4,
        "logical_neuroncore_config": 2,
    }
    table, _ = core_table(json.loads(json.dumps(report(neuron_hardware_info=hardware))))
    assert (len(table), table[63].memory_total_mib) == (64, 24576.0)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("", [0, 1, 2, 3]),
        ("1-2", [1, 2]),
        ("0, 3", [0, 3]),
        ("9", [0, 1, 2, 3]),
        ("a-b", [0, 1, 2, 3]),
        ("2-1", [0, 1, 2, 3]),
    ],
)
def test_the_cores_of_this_job(text: str, cores: list[int]) -> None:
    assert visible_cores(text, 4) == cores
