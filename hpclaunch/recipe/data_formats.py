"""Formats of data files, a row each: what everything knows them by, before any is read.

Another format is a row here, and what reads its rows in `READERS` of `hpclaunch.dataset.read`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Format = Literal["json", "csv", "parquet", "arrow"]


class DataFormat(msgspec.Struct, frozen=True):
    """A format of data files."""

    suffixes: tuple[str, ...]
    is_text: bool
    """hpclaunch reads it itself, at submission and in the job, and compressed, too; pyarrow reads
    the others."""


FORMATS: dict[Format, DataFormat] = {
    "json": DataFormat((".jsonl", ".ndjson", ".json"), is_text=True),
    "csv": DataFormat((".csv", ".tsv"), is_text=True),
    "parquet": DataFormat((".parquet",), is_text=False),
    "arrow": DataFormat((".arrow",), is_text=False),
}

SUFFIXES: dict[str, Format] = {
    suffix: name for name, each in FORMATS.items() for suffix in each.suffixes
}
"""The format of each suffix."""

TEXT_FORMATS: frozenset[Format] = frozenset(name for name, each in FORMATS.items() if each.is_text)
"""Formats that hpclaunch reads itself."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")
"""Suffixes that may follow those of a text format."""
