"""Rows of a data file of any format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hpclaunch.dataset.arrow_rows import arrow_rows
from hpclaunch.dataset.csv_rows import csv_rows
from hpclaunch.dataset.formats import compression_of
from hpclaunch.dataset.json_rows import json_rows
from hpclaunch.dataset.rows import Position, Row
from hpclaunch.errors import UserError
from hpclaunch.recipe.data_formats import TEXT_FORMATS, Format

READERS: dict[Format, Callable[[Path, Position], Iterator[Row]]] = {
    "json": json_rows,
    "csv": csv_rows,
    "parquet": arrow_rows,
    "arrow": arrow_rows,
}
"""What reads the rows of each format."""


def read_rows(file: Path, kind: Format, position: Position | None = None) -> Iterator[Row]:
    """Return the rows of one data file, whose reading `position` follows.

    Raises UserError, naming file and line, for what is no row and for a file without rows.
    """
    position = position or Position()
    try:
        size = file.stat().st_size
        if size == 0:
            raise UserError(f"{file} is empty", "write a row a line, or name another file")
        _refuse_other_files(file, kind)
        empty = True
        for row in READERS[kind](file, position):
            empty = False
            yield row
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
    position.bytes = size
    if empty:
        raise UserError(f"{file} has no rows", "write a row a line, or name another file")


_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
}
"""What files of other kinds begin with."""
_SUFFIX = {"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "zstd": ".zst"}


def _refuse_other_files(file: Path, kind: Format) -> None:
    """Refuse what is no data, or of another kind than its name says. Raises UserError."""
    with file.open("rb") as stream:
        first = stream.read(64)
    start = first.lstrip().lower()
    named = next((each for magic, each in _MAGIC.items() if first.startswith(magic)), None)
    if named and kind in TEXT_FORMATS and compression_of(file) is None:
        packed = _SUFFIX.get(named)
        fix = f"rename it to {file.name}{packed}" if packed else "give it the suffix of its kind"
        raise UserError(
            f"{file} is a {named} file by its first bytes, whatever its name says",
            "unpack it, and name the folder" if named == "zip" else fix,
        )
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{file} is a pointer of Git LFS, and not the data", "git lfs pull")
    if start.startswith((b"<!doctype", b"<html")):
        raise UserError(f"{file} is a web page, and not the data", "download the file anew")
