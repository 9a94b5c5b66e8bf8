"""The sidecar as a process, at the moment when its journal is full."""

from __future__ import annotations

import time
from pathlib import Path

from monitors.analysis.analysis import build
from monitors.records import End, Start, Tick
from monitors.storage import filenames
from monitors.storage.compaction import MOST_BYTES
from monitors.storage.formats import json_lines
from monitors.storage.formats.block_writer import HEAD
from monitors.storage.journal import Journal
from tests.monitors import restless
from tests.monitors.recorded import start
from tests.monitors.running import end, of_kind, records, start_sidecar, wait_for_ticks


def full_journal(out: Path) -> int:
    """What a killed sidecar of a node with eight GPUs left behind; gives the number of ticks."""
    out.mkdir()
    journal = Journal(out, "n1", 1 << 40)
    size = 0
    journal.append(json_lines.line(start(*restless.infos(0, 8))))
    for tick in restless.ticks(0, 8, 3600):
        line = json_lines.line(tick)
        journal.append(line)
        size += len(line)
        if size > MOST_BYTES:
            return tick.n + 1
    raise AssertionError("an hour is less than a journal")


def test_it_packs_beside_its_work_and_misses_nothing(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    before = full_journal(out)
    packed = filenames.path_of(out, "n1", filenames.BLOCKS)
    process = start_sidecar(out, library=fake_nvml, FAKE_NVML_GPUS="8")
    wait_for_ticks(process, out, 3, starts=2)
    deadline = time.monotonic() + 20
    while not packed.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    wait_for_ticks(process, out, 12, starts=2)
    end(process)
    assert packed.read_bytes().count(HEAD) >= 1
    assert filenames.path_of(out, "n1", filenames.SAMPLES).stat().st_size < MOST_BYTES / 4
    found = records(out)
    assert [type(record) for record in found].count(Start) == 2
    second = [at for at, record in enumerate(found) if isinstance(record, Start)][1]
    numbers = [r.n for r in found[:second] if isinstance(r, Tick)]
    assert numbers == list(range(before))
    (foot,) = of_kind(out, End)
    numbers = [r.n for r in found[second:] if isinstance(r, Tick)]
    assert len(numbers) == foot.ticks == numbers[-1] + 1 - foot.missed
    assert foot.lost_writes == 0
    assert foot.own.max_rss_kib < 30 * 1024
    (node,) = build(out).nodes
    assert node.problems == ()
    assert (node.starts, node.samples) == (2, before + foot.ticks)
