"""Journals that are packed after a few dozen ticks."""

from __future__ import annotations

from pathlib import Path

from monitors.records import Record
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from monitors.storage.formats.block_writer import HEAD
from monitors.storage.journal import Journal
from monitors.storage.store import NodeStore
from tests.monitors import restless
from tests.monitors.recorded import start

SMALL = 40_000
"""Bytes after which these journals are packed: a few dozen ticks."""


def journal_of(folder: Path, most: int = SMALL) -> Journal:
    return Journal(folder, "n1", most)


def read(folder: Path) -> list[Record]:
    store = NodeStore(folder, "n1")
    found = list(store.records())
    assert store.problems == [], store.problems
    return found


def write(journal: Journal, records: list[Record]) -> None:
    for record in records:
        assert journal.append(json_lines.line(record))
        journal.maybe_compact()
        journal.wait_for_compaction()


def some(count: int, seed: int = 1) -> list[Record]:
    return [start(*restless.infos(0, 2)), *restless.ticks(0, 2, count, seed)]


def blocks_in(folder: Path) -> int:
    path = filenames.path_of(folder, "n1", filenames.BLOCKS)
    return path.read_bytes().count(HEAD) if path.exists() else 0
