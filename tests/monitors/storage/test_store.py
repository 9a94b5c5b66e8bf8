"""A node's two files cut, damaged, missing, on a full disk, or shared by two starts."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from monitors.analysis.analysis import build
from monitors.records import End, Record, Tick
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from monitors.storage.formats.block_writer import HEAD
from monitors.storage.formats.journal_header import parse_header
from monitors.storage.store import NodeStore
from tests.monitors import restless
from tests.monitors.journals import blocks_in, journal_of, read, some, write
from tests.monitors.recorded import end, start, tick


def two_files(folder: Path) -> tuple[Path, Path, list[Record]]:
    records = some(100)
    journal = journal_of(folder, 34_000)
    write(journal, records)
    write(journal, records[1:1])
    packed, newest = (
        filenames.path_of(folder, "n1", s) for s in (filenames.BLOCKS, filenames.SAMPLES)
    )
    return packed, newest, records


def numbers(folder: Path) -> tuple[list[int], list[str]]:
    store = NodeStore(folder, "n1")
    return [r.n for r in store.records() if isinstance(r, Tick)], store.problems


def test_cut_at_every_byte_what_came_before_is_read(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, 1 << 30)
    for half in (0, 1):
        records: list[Record] = [start(*restless.infos(0, 1))]
        for record in [*records, *restless.ticks(0, 1, 12, seed=half)]:
            journal.append(json_lines.line(record))
        journal._compact()
        journal._replace()
    packed = filenames.path_of(tmp_path, "n1", filenames.BLOCKS)
    filenames.path_of(tmp_path, "n1", filenames.SAMPLES).unlink()
    whole = packed.read_bytes()
    assert whole.count(HEAD) == 2
    counts = []
    for cut in range(len(whole) + 1):
        packed.write_bytes(whole[:cut])
        found, problems = numbers(tmp_path)
        assert found == [*range(12), *range(12)][: len(found)]
        assert "n1.samples.jsonl is missing" in problems
        counts.append(len(found))
    assert sorted(set(counts)) == [0, 12, 24]
    assert counts == sorted(counts)


def test_cut_files_tell_what_is_missing(tmp_path: Path) -> None:
    packed, newest, _ = two_files(tmp_path)
    head = parse_header(newest.read_bytes().split(b"\n")[0] + b"\n")
    assert head is not None
    whole, journal = packed.read_bytes(), newest.read_bytes()
    packed.write_bytes(whole[:-100])
    found, problems = numbers(tmp_path)
    assert found[-1] == 99
    assert len(found) < 100
    assert any("cut short" in text for text in problems)
    packed.write_bytes(whole)
    lines = [len(line) + 1 for line in journal.split(b"\n")[:-1]]
    before = 0
    for cut in range(sum(lines[: 1 + head.repeated_lines]), len(journal), 997):
        newest.write_bytes(journal[:cut])
        found, problems = numbers(tmp_path)
        assert found == list(range(len(found)))
        assert len(found) >= before > -1
        before = len(found)
    newest.write_bytes(journal)
    packed.unlink()
    found, problems = numbers(tmp_path)
    assert found[-1] == 99  # with those that were kept in the journal, too
    assert problems == ["n1.samples.blocks is missing"]


def test_a_damaged_block_costs_its_own_ticks(tmp_path: Path) -> None:
    packed, _, _ = two_files(tmp_path)
    data = bytearray(packed.read_bytes())
    second = data.index(HEAD, data.index(HEAD) + 1)
    data[second + 400] ^= 1
    packed.write_bytes(bytes(data))
    found, problems = numbers(tmp_path)
    lost = sorted(set(range(100)) - set(found))
    assert 10 <= len(lost) < 60
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert problems == [f"n1.samples.blocks: 1 block is damaged, {len(lost)} samples lost"]
    (node,) = build(tmp_path).nodes
    assert problems[0] in node.problems


def test_a_journal_without_its_first_line_doubles_nothing(tmp_path: Path) -> None:
    _, newest, records = two_files(tmp_path)
    newest.write_bytes(newest.read_bytes().partition(b"\n")[2])
    found, problems = numbers(tmp_path)
    assert found == list(range(len(records) - 1))
    assert problems == []


def test_a_disk_that_is_full_while_packing_costs_nothing(tmp_path: Path) -> None:
    records = some(200)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = journal_of(tmp_path, 30_000)
    packed = filenames.path_of(tmp_path, "n1", filenames.BLOCKS)
    write(journal, records[:80])
    size = packed.stat().st_size
    assert size > 1000
    for record in records[80:160]:
        journal.append(json_lines.line(record))
        full = size + 500  # for the packed file; the journal would be over it already
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, limits[1]))
        try:
            journal.maybe_compact()
            journal.wait_for_compaction()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert packed.stat().st_size == size
    assert read(tmp_path) == records[:160]
    write(journal, records[160:])
    assert packed.stat().st_size > size
    assert read(tmp_path) == records


def test_an_earlier_start_that_lives_on_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Both write into the same journal, until one of them begins it anew."""
    first, second = journal_of(tmp_path), journal_of(tmp_path)
    mine, theirs = some(150, seed=1), some(150, seed=2)
    told = []
    for one, other in zip(mine, theirs, strict=True):
        for journal, record in ((second, other), (first, one)):
            journal.append(json_lines.line(record))
            told.append(record)
            if journal is second:
                journal.maybe_compact()
                journal.wait_for_compaction()
        if blocks_in(tmp_path):
            break
    assert blocks_in(tmp_path)
    found = read(tmp_path)
    assert found == told[: len(found)]
    assert len(told) - len(found) <= 1, "what it wrote after that is its own loss"


def test_two_starts_do_not_pack_at_once(tmp_path: Path) -> None:
    first, second = journal_of(tmp_path, 1 << 30), journal_of(tmp_path, 1 << 30)
    for record in some(60):
        first.append(json_lines.line(record))
    first._compact()
    second._compact()
    assert second._compacted is None
    first._replace()
    assert read(tmp_path) == some(60)


def test_a_fault_of_the_packing_stops_that_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_of(tmp_path)
    monkeypatch.setattr("monitors.storage.compaction.append_blocks", lambda *_: 1 // 0)
    write(journal, some(120))
    assert journal.problem == "ZeroDivisionError: integer division or modulo by zero"
    journal.close()
    assert read(tmp_path) == some(120)


def test_a_packed_file_that_cannot_be_is_the_journals_loss_alone(tmp_path: Path) -> None:
    filenames.path_of(tmp_path, "n1", filenames.BLOCKS).mkdir()
    journal = journal_of(tmp_path)
    write(journal, [*some(120), end(120, 120)])
    journal.close()
    found = list(NodeStore(tmp_path, "n1").records())
    assert found == [*some(120), end(120, 120)]
    assert isinstance(found[-1], End)


def test_times_of_a_tick_are_of_use(tmp_path: Path) -> None:
    """A node with nothing but ticks on time: a block of them is smaller than one line."""
    journal = journal_of(tmp_path, 1 << 30)
    for n in range(200):
        journal.append(json_lines.line(tick(n)))
    journal._compact()
    assert filenames.path_of(tmp_path, "n1", filenames.BLOCKS).stat().st_size < 500
