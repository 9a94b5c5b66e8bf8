"""The journal and the packed file behind it: going on, killed, read in the middle."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from monitors.analysis.analysis import build
from monitors.records import Note, Start, Tick
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from monitors.storage.formats.journal_header import JournalHeader, parse_header
from monitors.storage.newest import newest_of
from monitors.storage.store import NodeStore
from tests.monitors import restless
from tests.monitors.journals import blocks_in, journal_of, read, some, write
from tests.monitors.recorded import end
from tests.monitors.running import ROOT, environment


def test_what_is_recorded_is_read_in_order(tmp_path: Path) -> None:
    records = some(300)
    records.insert(150, Note(1.7e9, "something happened"))
    journal = journal_of(tmp_path)
    write(journal, records)
    assert blocks_in(tmp_path) >= 3
    assert read(tmp_path) == records
    write(journal, [end(300, 300)])
    journal.close()
    assert read(tmp_path) == [*records, end(300, 300)]


def test_the_journal_alone_tells_what_goes_on(tmp_path: Path) -> None:
    records = some(300)
    journal = journal_of(tmp_path)
    write(journal, records[:250])
    journal.append("")
    found = newest_of(tmp_path, "n1")
    assert (found.start, found.tick, found.before) == (records[0], records[249], records[248])
    text = (
        filenames.path_of(tmp_path, "n1", filenames.SAMPLES).read_text().splitlines(keepends=True)
    )
    alone = [r for r in json_lines.SamplesReader(text) if isinstance(r, Tick)]
    assert len(alone) >= 20
    assert alone == records[250 - len(alone) : 250]


def test_several_starts_append_to_the_same_files(tmp_path: Path) -> None:
    wanted = []
    for number in range(4):
        records = some(90, seed=number)
        journal = journal_of(tmp_path)
        write(journal, records)
        if number % 2:
            write(journal, [end(90, 90)])
            journal.close()
            records.append(end(90, 90))
        wanted += records  # the others are killed
    assert read(tmp_path) == wanted
    (node,) = build(tmp_path).nodes
    assert (node.starts, node.samples) == (4, 360)


def test_what_an_earlier_version_wrote_goes_before(tmp_path: Path) -> None:
    old, new = some(100), some(100, seed=2)
    path = filenames.path_of(tmp_path, "n1", filenames.SAMPLES)
    path.write_text("".join(map(json_lines.line, old)) + '{"kind":"tick","n":9')
    journal = journal_of(tmp_path)
    write(journal, new)
    journal.close()
    store = NodeStore(tmp_path, "n1")
    assert list(store.records()) == [*old, *new]
    assert store.problems == []


def test_lines_that_no_block_can_hold_stay_lines(tmp_path: Path) -> None:
    odd = '{"kind":"phase","name":"load"}\n', '{"kind":"tick","n":0,"host":{}}\n', "\0\0garbage\n"
    journal = journal_of(tmp_path)
    records = some(200)
    for at, record in enumerate(records):
        journal.append(json_lines.line(record))
        if at in (50, 51, 99):
            journal.append(odd[at % 3])
        journal.maybe_compact()
        journal.wait_for_compaction()
    store = NodeStore(tmp_path, "n1")
    assert list(store.records()) == records
    told = " ".join(store.problems)
    assert told.startswith("n1.samples.blocks: ")
    packed = filenames.path_of(tmp_path, "n1", filenames.BLOCKS).read_bytes()
    assert b'{"kind":"phase","name":"load"}\n' in packed


def test_a_line_that_a_kill_cut_off_is_no_damage(tmp_path: Path) -> None:
    path = filenames.path_of(tmp_path, "n1", filenames.SAMPLES)
    wanted = []
    for run in range(40):
        records = some(12, seed=run)
        journal = journal_of(tmp_path)
        write(journal, records)
        wanted += records
        with path.open("a") as file:  # by a page's end, as a kill leaves it
            file.write(json_lines.line(records[-1])[: 3 + 7 * run])
        assert read(tmp_path) == wanted
    assert blocks_in(tmp_path) >= 2


def test_a_line_cut_off_amid_a_recording_is_told(tmp_path: Path) -> None:
    records = some(6)
    journal = journal_of(tmp_path)
    write(journal, records[:4])
    journal.append(json_lines.line(records[4])[:50] + "\n")
    write(journal, records[5:])
    store = NodeStore(tmp_path, "n1")
    assert list(store.records()) == [*records[:4], *records[5:]]
    assert store.problems == ["n1.samples.jsonl: 1 line makes no sense and cannot be counted"]


RUN = """
import sys
from itertools import count
from pathlib import Path
from monitors.storage.formats import json_lines
from monitors.storage.journal import Journal
from tests.monitors.recorded import start, tick
from monitors.records import HostSample

journal = Journal(Path(sys.argv[1]), "n1", 6000)
run = int(sys.argv[2])
journal.append(json_lines.line(start(after=run)))
print("ready", flush=True)
for n in count():
    journal.append(json_lines.line(tick(n, host=HostSample(load1=n / 10), after=run)))
    journal.maybe_compact()
    print(n, flush=True)
"""


def test_killed_at_any_moment_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    dice = random.Random(7)  # noqa: S311
    told: list[int] = []
    for run in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path), str(run)],
            env=environment(None, {}),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # By lines and not by time: on a busy machine little is written in any time.
            lines = [process.stdout.readline() for _ in range(dice.randrange(6000))]
            process.kill()
            lines += process.stdout.read().split("\n")[:-1]
        told.append(int(lines[-1]) + 1 if lines else 0)
        numbers: list[list[int]] = []
        for record in read(tmp_path):
            if isinstance(record, Start):
                numbers.append([])
            elif isinstance(record, Tick):
                numbers[-1].append(record.n)
        assert [len(found) for found in numbers[:-1]] == told[:-1]
        assert len(numbers[-1]) - told[-1] in (0, 1), "one more may be written than told"
        told[-1] = len(numbers[-1])
        assert all(found == list(range(len(found))) for found in numbers)
    assert blocks_in(tmp_path) >= 6


def test_a_line_that_is_being_written_while_the_journal_is_compacted_is_kept(
    tmp_path: Path,
) -> None:
    """A thread may see a write of another up to the end of a memory page."""
    journal = journal_of(tmp_path, 1 << 30)
    records = some(200)
    write(journal, records[:150])
    line = json_lines.line(records[150])
    path = filenames.path_of(tmp_path, "n1", filenames.SAMPLES)
    with path.open("a") as file:
        file.write(line[:20])
    journal._compact()
    with path.open("a") as file:
        file.write(line[20:])
    journal._replace()
    write(journal, records[151:])
    assert read(tmp_path) == records
    assert blocks_in(tmp_path) >= 1


STEPS = 6


def steps_of_packing(folder: Path) -> Iterator[str]:
    """The states that the files go through while a journal is packed, one by one."""
    journal = journal_of(folder, 1 << 30)
    for record in some(60):
        journal.append(json_lines.line(record))
    yield "before"
    journal._compact()
    yield "packed, and nothing said so yet"
    journal._replace()
    yield "begun anew"
    for record in islice(restless.ticks(0, 2, 70), 60, None):
        journal.append(json_lines.line(record))
    yield "going on"
    journal._compact()
    yield "packed again"
    journal._new.write_text("half of a new jour")
    yield "killed while the new journal was written"


def test_every_state_on_the_way_is_true_and_can_be_gone_on_with(tmp_path: Path) -> None:
    for stop in range(STEPS):
        folder = tmp_path / str(stop)
        folder.mkdir()
        for _ in islice(steps_of_packing(folder), stop + 1):
            pass
        wanted = some(60 if stop < 3 else 70)
        assert read(folder) == wanted
        journal = journal_of(folder)  # the next start
        write(journal, some(80, seed=3))
        journal.close()
        assert read(folder) == [*wanted, *some(80, seed=3)]


def test_a_reader_at_any_moment_sees_a_true_state(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path), "0"],
        env=environment(None, {}),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            before, deadline = 0, time.monotonic() + 2
            while time.monotonic() < deadline:
                found = [r.n for r in NodeStore(tmp_path, "n1").records() if isinstance(r, Tick)]
                assert found == list(range(len(found)))
                assert len(found) >= before
                before = len(found)
                time.sleep(0.01)
        finally:
            process.kill()
    assert before > 100
    assert blocks_in(tmp_path) >= 2


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}\n",
        b'{"kind":"journal","packed":5}\n',
        b'{"kind":"journal","packed":"x","kept":0}\n',
        b'{"kind":"journal","packed":-1,"kept":0}\n',
        JournalHeader(7, 3).line()[:-1],
    ],
)
def test_no_head_is_no_head(line: bytes) -> None:
    assert parse_header(line) is None
    assert parse_header(JournalHeader(7, 3).line()) == JournalHeader(7, 3)


@pytest.mark.parametrize("suffix", [filenames.SAMPLES, filenames.BLOCKS])
def test_nothing_is_written_through_a_link(suffix: str, tmp_path: Path) -> None:
    """As somebody may have left it where everybody can record."""
    (tmp_path / "kept").write_text("theirs")
    filenames.path_of(tmp_path, "n1", suffix).symlink_to("kept")
    with contextlib.suppress(OSError):
        journal = journal_of(tmp_path)
        write(journal, some(200))
        journal.close()
    assert (tmp_path / "kept").read_text() == "theirs"
