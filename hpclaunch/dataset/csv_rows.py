"""Rows of CSV and TSV files: every cell as the text that stands there."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hpclaunch.dataset.formats import suffix_of
from hpclaunch.dataset.rows import REPAIR, Lines, Position, Row, not_utf8, nul_byte
from hpclaunch.errors import UserError

MOST_OF_ONE_CELL = min(256_000_000, sys.maxsize)
"""Characters that a cell may have."""


def csv_rows(file: Path, position: Position) -> Iterator[Row]:
    """Return the rows of a table under its header. Raises UserError naming the line."""
    csv.field_size_limit(MOST_OF_ONE_CELL)
    delimiter = "\t" if suffix_of(file) == ".tsv" else ","
    header: list[str] | None = None
    with file.open("rb") as raw:
        table = csv.reader(_texts(file, raw, position), delimiter=delimiter, strict=True)
        before = 0
        while True:
            line = before + 1
            try:
                cells = next(table, None)
            except csv.Error as error:
                raise UserError(f"{file}:{line}: {error}", REPAIR) from None
            if cells is None:
                return
            before = table.line_num
            if not cells:
                continue
            if header is None:
                header = _header(cells, f"{file}:{line}")
                continue
            if len(cells) > len(header):
                raise UserError(
                    f"{file}:{line}: {len(cells)} cells under {len(header)} columns",
                    "put cells that hold the delimiter into double quotes",
                )
            yield Row(file, line, dict(itertools.zip_longest(header, cells, fillvalue="")))


def _texts(file: Path, raw: IO[bytes], position: Position) -> Iterator[str]:
    """Return the lines as text. Raises UserError."""
    for number, line in Lines(file, raw, position):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(line, error, f"{file}:{number}") from None
        if "\0" in text:
            raise nul_byte(text, f"{file}:{number}")
        yield text


def _header(cells: list[str], where: str) -> list[str]:
    twice = [name for name in cells if cells.count(name) > 1]
    if twice:
        raise UserError(f"{where}: the column '{twice[0]}' stands twice", "rename one of them")
    if len(cells) == 1:
        other = next((each for each in ";|\t" if each in cells[0]), None)
        if other is not None:
            raise UserError(
                f"{where}: the only column is {cells[0]!r}: the cells are separated by {other!r}",
                "separate them by commas; by tabs in a file .tsv",
            )
    return cells
