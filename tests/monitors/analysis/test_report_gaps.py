"""What the report makes of records with holes: missed, torn, missing, or tables alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitors.analysis.analysis import build
from monitors.analysis.summary import NodeSummary, Stat
from monitors.records import GpuSample, HostSample, Note, Record
from monitors.storage.formats import json_lines
from tests.monitors.recorded import (
    GPU_A,
    GPU_B,
    end,
    start,
    tick,
    write_dmon,
    write_samples,
    write_vmstat,
)

BUSY = HostSample(cpu_busy_pct=50)


def only_node(folder: Path) -> NodeSummary:
    (node,) = build(folder).nodes
    return node


def test_missed_deadlines_and_silent_gpus_are_counted(tmp_path: Path) -> None:
    gpu = GpuSample(0, sm_pct=10)
    records: list[Record] = [
        start(GPU_A),
        tick(2, gpu),  # 0 and 1 are missing
        tick(3, silent=True),
        tick(7, gpu),
        tick(8, silent=True),
    ]
    write_samples(tmp_path, records)
    node = only_node(tmp_path)
    assert (node.samples, node.missed, node.gpu_missed) == (4, 5, 2)
    assert node.gpus[0].samples == 2
    assert node.end_reason is None
    assert node.duration_s == 9
    assert node.problems == ()


def test_ticks_of_a_node_without_gpus_are_not_without_gpus(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(problem="NVML: none"), tick(0, silent=True), end(2, 1)])
    node = only_node(tmp_path)
    assert (node.gpu_missed, node.gpu_problem, node.gpus) == (None, "NVML: none", ())


def test_each_start_counts_from_nought(tmp_path: Path) -> None:
    records: list[Record] = [
        *(start(), tick(0), tick(1), tick(4), end(5, 3, cpu_s=0.1, lost=2)),
        *(start(after=100), tick(0, after=100), tick(2, after=100)),
    ]
    write_samples(tmp_path, records)
    node = only_node(tmp_path)
    assert (node.starts, node.samples, node.missed, node.lost_writes) == (2, 5, 3, 2)
    assert node.end_reason is None  # the first ended, the last did not
    assert node.duration_s == 5 + 3
    assert node.own_cpu_pct == 2  # 0.1 s in the 5 s of the first; of the second nothing is known
    write_samples(tmp_path, [*records, end(104, 2, lost=1)])
    node = only_node(tmp_path)
    assert (node.end_reason, node.lost_writes) == ("SIGTERM", 3)


def test_a_record_without_its_head_is_counted_from_its_first_tick(tmp_path: Path) -> None:
    write_samples(tmp_path, [tick(50, GpuSample(3, sm_pct=5)), tick(52, GpuSample(3, sm_pct=7))])
    node = only_node(tmp_path)
    assert (node.starts, node.missed, node.duration_s) == (0, 1, 2)
    assert [(gpu.index, gpu.uuid, gpu.sm_pct.mean) for gpu in node.gpus] == [(3, None, 6)]


def test_a_torn_record_gives_what_is_whole(tmp_path: Path) -> None:
    path = write_samples(tmp_path, [start(GPU_A), *(tick(n, host=BUSY) for n in range(5))])
    text = path.read_text()
    path.write_text(text[:-20])
    node = only_node(tmp_path)
    assert (node.samples, node.cpu_busy_pct) == (4, Stat(50, 50, 4))
    assert node.problems == ()  # what a kill leaves
    # A torn line in the middle, mended by the next start, and bytes that are no text at all.
    path.write_bytes(text[:-20].encode() + b"\n" + b"\xff\xfe\0\n" + text.encode())
    node = only_node(tmp_path)
    assert (node.samples, node.starts) == (9, 2)
    assert node.problems == ("n1.samples.jsonl: 2 lines make no sense and cannot be counted",)


def test_samples_alone_miss_nothing(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(GPU_A), tick(0, GpuSample(0, sm_pct=1))])
    assert only_node(tmp_path).problems == ()


@pytest.mark.parametrize("left", ["", "torn", "head"])
def test_without_samples_the_tables_do(tmp_path: Path, left: str) -> None:
    if left:
        path = write_samples(tmp_path, [start(GPU_A, GPU_B)])
        path.write_text(path.read_text()[: 30 if left == "torn" else None])
    gpus = [
        (at, GpuSample(index, power_w=100 * at + index, sm_pct=None if index else 40 + at))
        for at in (1, 2, 3)
        for index in (0, 1)
    ]
    write_dmon(tmp_path, gpus)
    write_vmstat(
        tmp_path,
        [
            (0, {"id": 90, "wa": 5, "swpd": 2048}),
            (3, {"id": 51, "wa": 50}),
            (4, {"id": 0, "wa": 0, "swpd": 1024}),
        ],
    )
    node = only_node(tmp_path)
    assert node.files == ("n1.dmon.txt", "n1.vmstat.txt")
    assert (node.samples, node.duration_s) == (3, 4)
    # Nothing in the tables tells these, so they are unknown.
    assert node.missed is node.starts is node.gpu_missed is node.lost_writes is None
    assert node.own_cpu_pct is node.mem_total_mib is None
    assert node.mem_used_mib == node.net_rx_mb_s == Stat()
    assert node.cpu_busy_pct == Stat(35, 100, 3)  # 5, 0 and 100; not below nought
    assert node.cpu_iowait_pct == Stat(18.33, 50, 3)
    assert node.swap_used_mib == Stat(1, 2, 3)
    first, second = node.gpus
    assert (first.power_w, first.sm_pct) == (Stat(200, 300, 3), Stat(42, 43, 3))
    assert (second.power_w, second.sm_pct) == (Stat(201, 301, 3), Stat())
    assert (first.uuid, first.energy_j, first.memory_total_mib) == (None, None, None)
    name = "n1.samples.jsonl"
    assert node.problems == {
        "": (f"{name} is missing",),
        "torn": (f"{name}: no samples",),
        "head": (f"{name}: no samples",),
    }.get(left)


@pytest.mark.parametrize("kept", ["dmon", "vmstat"])
def test_one_table_alone(tmp_path: Path, kept: str) -> None:
    if kept == "dmon":
        write_dmon(tmp_path, [(0, GpuSample(0, sm_pct=10)), (1, GpuSample(0, sm_pct=20))])
    else:
        write_vmstat(tmp_path, [(0, {"id": 100}), (1, {"id": 80})])
    node = only_node(tmp_path)
    assert (node.samples, node.duration_s, len(node.problems)) == (2, 1, 2)
    assert [gpu.sm_pct for gpu in node.gpus] == ([Stat(15, 20, 2)] if kept == "dmon" else [])
    assert node.cpu_busy_pct == (Stat() if kept == "dmon" else Stat(10, 20, 2))


def test_a_dmon_made_by_hand_with_memory_and_without_time(tmp_path: Path) -> None:
    (tmp_path / "n1.dmon.txt").write_text("# gpu  fb  sm\n# Idx  MB  %\n  0 2048 50\n  0 4096 -\n")
    node = only_node(tmp_path)
    assert (node.began, node.last, node.duration_s, node.samples) == (None, None, None, 2)
    assert node.gpus[0].memory_used_mib == Stat(3072, 4096, 2)
    assert node.gpus[0].sm_pct == Stat(50, 50, 1)


def test_a_head_alone_tells_when_it_began_and_why_no_gpu(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(problem="NVML: refused"), Note(1_790_000_005, "late")])
    node = only_node(tmp_path)
    assert (node.samples, node.duration_s, node.end_reason) == (0, None, None)
    assert node.began == "2026-09-21T14:13:20+00:00"
    assert node.gpu_problem == "NVML: refused"
    assert node.notes == ("2026-09-21T14:13:25+00:00: late",)
    assert node.problems[0] == "n1.samples.jsonl: no samples"


def test_times_are_those_of_the_node(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(offset=7200), tick(0)])
    assert only_node(tmp_path).began == "2026-09-21T16:13:20+02:00"
    write_samples(tmp_path, [start(offset=10**7), tick(0)])
    assert only_node(tmp_path).began == "2026-09-21T14:13:20+00:00"


@pytest.mark.parametrize("what", ["folder", "empty", "unrelated"])
def test_no_record_at_all_is_said(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "metrics"
    if what != "folder":
        folder.mkdir()
    if what == "unrelated":
        (folder / "notes.txt").write_text("hello")
        (folder / ".samples.jsonl").write_text(json_lines.line(start()))
    report = build(folder)
    assert report.nodes == ()
    (problem,) = report.problems
    assert str(folder) in problem
    assert ("No such file" in problem) == (what == "folder")


def test_a_file_that_cannot_be_read_is_named_and_the_others_used(tmp_path: Path) -> None:
    (tmp_path / "n1.samples.jsonl").mkdir()
    (tmp_path / "n1.vmstat.txt").write_bytes(b"")
    write_dmon(tmp_path, [(0, GpuSample(0, sm_pct=10))])
    node = only_node(tmp_path)
    assert node.problems == ("n1.samples.jsonl cannot be read: it is no plain file",)
    assert node.gpus[0].sm_pct == Stat(10, 10, 1)
