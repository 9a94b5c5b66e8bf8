"""Rows of a data file of any format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hpclaunch.dataset.arrow_rows import arrow_rows
from hpclaunch.dataset.csv_rows import csv_rows
from hpclaunch.dataset.json_rows import json_rows
from hpclaunch.dataset.rows import Position, Row
from hpclaunch.errors import UserError
from hpclaunch.recipe.data_formats import Format

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
        _refuse_other_files(file)
        empty = True
        for row in READERS[kind](file, position):
            empty = False
            yield row
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None
    position.bytes = size
    if empty:
        raise UserError(f"{file} has no rows", "write a row a line, or name another file")


def _refuse_other_files(file: Path) -> None:
    """Refuse what a download or a clone leaves in the place of data. Raises UserError."""
    with file.open("rb") as stream:
        start = stream.read(64).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{file} is a pointer of Git LFS, and not the data", "git lfs pull")
    if start.startswith((b"<!doctype", b"<html")):
        raise UserError(f"{file} is a web page, and not the data", "download the file anew")
