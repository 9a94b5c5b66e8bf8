"""What the sidecars noted long before the end, behind megabytes of samples and packed blocks."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hpclaunch.diagnose.metrics import node_memories
from hpclaunch.run.folder import RunFolder
from monitors.records import HostSample, Note, Start, Tick
from monitors.storage import filenames
from monitors.storage.formats.json_lines import line
from monitors.storage.journal import Journal
from tests.diagnose import messages
from tests.diagnose.failed_runs import FailedRun, ask, traceback

NOON = 1.8e9
KILLED = "the kernel killed 2 processes of the job for memory"
XID = "GPU 2: Xid 79, GPU has fallen off the bus"


def record(
    folder: Path,
    node: str,
    notes: dict[int, str],
    ticks: int,
    most: int = 1 << 18,
    begin: float = NOON,
) -> None:
    """Write a node's record as a sidecar does: notes before the ticks of these numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder, node, most=most)
    journal.append(line(Start(node, begin, 0.0, "UTC", 0, 1.0)))
    for n in range(ticks):
        if n in notes:
            journal.append(line(Note(begin + n, notes[n])))
        host = HostSample(cpu_busy_pct=1.5, mem_used_mib=1000.0 + n % 7, mem_total_mib=1e6)
        journal.append(line(Tick(n, begin + n, float(n), host)))
        journal.maybe_compact()
    journal.close()


@pytest.mark.parametrize("most", [1 << 18, 1 << 30], ids=["packed at times", "packed at the end"])
def test_a_note_of_hours_ago_is_seen(tmp_path: Path, most: int) -> None:
    notes = {10: KILLED, **{at: f"GPU {at} is slow" for at in range(500, 540)}}
    record(tmp_path, "node1", notes, 6000, most)
    (node,) = node_memories(tmp_path)
    assert len(node.notes) == 41, "each once, though the newest lie in both files"
    assert KILLED in node.notes


def test_what_an_earlier_start_noted_is_no_news(tmp_path: Path) -> None:
    record(tmp_path, "node1", {10: KILLED}, 3000)
    record(tmp_path, "node1", {5: "GPU 1 is slow"}, 20, begin=NOON + 9000)
    (node,) = node_memories(tmp_path)
    assert node.notes == ("GPU 1 is slow",)


@pytest.mark.parametrize(
    ("note", "kind", "text"),
    [
        (KILLED, "host-memory", "the system killed a process of the job"),
        (XID, "gpu-error", "GPU error Xid 79"),
    ],
)
def test_why_names_it(tmp_path: Path, note: str, kind: str, text: str) -> None:
    folder, failed_run = RunFolder(tmp_path), FailedRun(ranks={0: traceback(messages.PEER_CLOSED)})
    failed_run.write(folder)
    record(folder.metrics, "node1", {}, 3000)
    record(folder.metrics, "node2", {10: note}, 6000)
    cause = ask(folder, failed_run).cause
    assert (cause.kind, cause.host) == (kind, "node2")
    assert text in cause.headline
    assert any(note in clue.text for clue in cause.evidence)


def test_many_nodes_of_a_day_are_read_in_no_time(tmp_path: Path) -> None:
    """64 nodes with a megabyte of journal and eight of blocks each."""
    record(tmp_path, "node0", {}, 5000, 1 << 30)
    journal = filenames.path_of(tmp_path, "node0", filenames.SAMPLES).read_bytes()
    head, noise = (
        b'{"kind":"block","format":1,"ticks":900,"bytes":60000,"crc":1}\n',
        os.urandom(60000),
    )
    packed = line(Note(NOON, KILLED)).encode() + (head + noise + b"\n") * 133
    for number in range(64):
        filenames.path_of(tmp_path, f"node{number}", filenames.BLOCKS).write_bytes(packed)
        filenames.path_of(tmp_path, f"node{number}", filenames.SAMPLES).write_bytes(journal)
    began = time.process_time()
    found = node_memories(tmp_path)
    assert time.process_time() - began < 1
    assert len(found) == 64
    assert all(KILLED in node.notes for node in found)


def test_damaged_blocks_cost_only_what_they_held(tmp_path: Path) -> None:
    record(tmp_path, "node1", {10: KILLED}, 6000)
    path = filenames.path_of(tmp_path, "node1", filenames.BLOCKS)
    data = path.read_bytes()
    for broken in (data[: len(data) // 2], data.replace(b'"bytes":', b'"bytes":9'), b"\xff" * 999):
        path.write_bytes(broken)
        assert len(node_memories(tmp_path)) == 1
