"""How many rows local data has, where that is soon counted."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from hpclaunch.dataset.arrow_rows import can_read, row_count
from hpclaunch.dataset.local import LocalSplit
from hpclaunch.dataset.read import read_rows
from hpclaunch.dataset.sources import training_source
from hpclaunch.errors import UserError, printable
from hpclaunch.recipe.data_formats import TEXT_FORMATS
from hpclaunch.recipe.mixture import parts_of, samples_of
from hpclaunch.recipe.schema import Data

MOST_BYTES_OF_LINES = 500_000_000
"""Size up to which the lines of JSON lines are counted."""

MOST_BYTES_PARSED = 50_000_000
"""Size up to which the rows of other text files are."""


def count_samples(data: Data) -> int | None:
    """Return the rows of local data that a recipe trains on, before its limit.

    Of several datasets the samples of an epoch: with their limits, their weights and without what
    is held out. None where they are the hub's, where counting would take long, and where nothing
    can be read.
    """
    if data.sources:
        return samples_of(data, [count_samples(part) for part, _ in parts_of(data)])
    try:
        source = training_source(data)
        if source is None:
            return None
        total = 0
        for part, split in source.parts:
            rows = _rows(split)
            if rows is None:
                return None
            total += len(part.bounds(rows))
    except (OSError, UserError):
        return None
    return total


def mixture_lines(data: Data) -> list[str]:
    """Return a line with the samples of an epoch of each of several datasets, where known."""
    parts = parts_of(data) if data.sources else ()
    one_by_one = [
        samples_of(structs.replace(data, sources=[source]), [count_samples(part.data)])
        for source, part in zip(data.sources, parts, strict=True)
    ]
    total = sum(samples or 0 for samples in one_by_one)
    if not parts or not total or None in one_by_one:
        return []
    shares = (
        f"{printable(part.data.name)} x {part.weight:g}: {samples:,} ({100 * samples / total:.0f}%)"
        for part, samples in zip(parts, one_by_one, strict=True)
        if samples is not None
    )
    return [f"data: {total:,} samples an epoch: {', '.join(shares)}"]


def _rows(split: LocalSplit) -> int | None:
    if split.format not in TEXT_FORMATS:
        return sum(map(row_count, split.files)) if can_read() else None
    lines = all(file.suffix.lower() in (".jsonl", ".ndjson") for file in split.files)
    if split.bytes > (MOST_BYTES_OF_LINES if lines else MOST_BYTES_PARSED):
        return None
    if lines:
        return sum(map(_lines, split.files))
    return sum(sum(1 for _ in read_rows(file, split.format)) for file in split.files)


def _lines(file: Path) -> int:
    """Count the lines that are not blank; a list over several lines is read."""
    with file.open("rb") as stream:
        first = next((line for line in stream if line.strip()), b"")
        if first.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
            return sum(1 for _ in read_rows(file, "json"))
        return bool(first) + sum(1 for line in stream if line.strip())
