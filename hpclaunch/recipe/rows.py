"""Check local data files without the training stack: that they exist, and that rows are valid.

Before submission the beginning and the end of each file are read, so that the answer comes at once;
in the job every row is checked, with the same messages.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import DEFAULT_OBJECTIVE, Objective
from hpclaunch.recipe.shapes import COLUMNS, Shape, detect, row_problem

READERS = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
"""Suffixes of data files, and what reads them."""

GLANCE = 8_000_000
"""Bytes from the beginning of a file that are looked at beforehand: some tenths of a second."""

REPAIR = "repair the row or take it out"
_MAGIC = {".parquet": (b"PAR1",), ".arrow": (b"ARROW1", b"\xff\xff\xff\xff")}


def files_of(path: Path) -> list[Path]:
    """Return the data files of a file or folder, all of one kind. Raises UserError."""
    if path.is_file():
        if path.suffix not in READERS:
            raise UserError(f"{path}: not a data file", f"valid: {', '.join(READERS)}")
        return [path]
    try:
        inside = list(path.iterdir()) if path.is_dir() else []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    found = sorted(p for p in inside if p.suffix in READERS and p.is_file())
    if not found:
        raise UserError(f"{path}: no data files there", f"valid: {', '.join(READERS)}")
    kinds = {READERS[p.suffix] for p in found}
    if len(kinds) > 1:
        raise UserError(f"{path} mixes {' and '.join(sorted(kinds))} files", "keep one kind")
    return found


def glance(
    path: Path,
    wanted: str,
    rows: int | None = None,
    objective: Objective = DEFAULT_OBJECTIVE,
) -> None:
    """Check local data before a job is queued. `wanted` is the recipe's `data.format`,
    `rows` how many of the rows are used; None is all.

    Raises UserError naming file and line. What it does not see, the job's first step does.
    """
    for file in files_of(path):
        try:
            _glance_at(file, wanted, rows, objective)
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from None


def _glance_at(file: Path, wanted: str, rows: int | None, objective: Objective) -> None:
    """Look at one file, by its kind."""
    size = file.stat().st_size
    if size == 0:
        raise UserError(f"{file} is empty", "write a row a line, or name another file")
    with file.open("rb") as stream:
        first = stream.read(8)
    if file.suffix in _MAGIC:
        if not first.startswith(_MAGIC[file.suffix]):
            raise UserError(
                f"{file} is no {file.suffix.removeprefix('.')} file: it begins with other bytes",
                "write it anew, or give it the suffix of what it is",
            )
    elif file.suffix == ".csv":
        _check_table(file, wanted, rows, objective)
    elif file.suffix == ".jsonl":
        check_lines(file, wanted, GLANCE, rows, objective)
        if size > GLANCE:
            _check_tail(file, size)


def check_lines(
    file: Path,
    wanted: str = "auto",
    most: int | None = None,
    rows: int | None = None,
    objective: Objective = DEFAULT_OBJECTIVE,
) -> None:
    """Raise UserError for the first line of a jsonl file that is no row like those before it.

    `most`: bytes to read; None reads to the end. `wanted` is the shape that the recipe names.
    Lines after the first `rows` rows need only be JSON.
    """
    shape: Shape | None = None
    for at, (number, raw) in enumerate(_lines(file, most)):
        where = f"{file}:{number}"
        row = _row(raw, where)
        if shape is None:
            shape = detect(list(row), wanted, where, objective)
        if rows is not None and at >= rows:
            continue
        missing = [name for name in COLUMNS[shape] if name not in row]
        if missing:
            raise UserError(
                f"{where}: the row has no '{missing[0]}', as those before it have",
                "give all rows the same columns",
            )
        problem = row_problem(row, shape, wanted)
        if problem:
            raise refused(where, problem)
    if shape is None and (most is None or file.stat().st_size <= most):
        raise UserError(f"{file} has no rows", "write a row a line, or name another file")


def refused(where: str, problem: str) -> UserError:
    """Return the error of a row. A problem that names its own fix has it behind a semicolon."""
    message, _, fix = problem.partition("; ")
    return UserError(f"{where}: {message}", fix or REPAIR)


def _lines(file: Path, most: int | None) -> Iterator[tuple[int, bytes]]:
    """Return number and bytes of every line that is not blank; with `most`, of whole lines only."""
    read = 0
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            read += len(raw)
            if raw.strip():
                yield number, raw
            if most is not None and read >= most:
                return


def _row(raw: bytes, where: str) -> dict[str, Any]:
    """Read one line. Raises UserError saying what is wrong with it, and where in it."""
    try:
        text = raw.decode("utf-8").rstrip()
    except UnicodeDecodeError as error:
        raise _not_utf8(raw, error, where) from None
    if text.startswith("\ufeff"):
        raise UserError(f"{where}: begins with a byte order mark", "save it as UTF-8 without one")
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        fault = f"{where}: not valid JSON: {error.msg} at column {error.colno}"
        raise UserError(fault, REPAIR) from None
    except (RecursionError, ValueError) as error:  # too deep; a number of thousands of digits
        raise UserError(f"{where}: cannot be read as JSON: {error}", REPAIR) from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: a row must be a JSON object", REPAIR)
    return row


def _not_utf8(raw: bytes, error: UnicodeDecodeError, where: str) -> UserError:
    """Say which byte is none of UTF-8, and what to convert from."""
    marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return UserError(
        f"{where}: not UTF-8: byte 0x{raw[error.start]:02x} at column {error.start + 1}",
        f"convert the file: iconv -f {'utf-16' if marked else 'latin1'} -t utf-8",
    )


def _check_table(file: Path, wanted: str, rows: int | None, objective: Objective) -> None:
    """Look at the beginning of a CSV file: its columns, and whether cells are empty.

    Raises UserError naming the line.
    """
    with file.open("rb") as stream:
        raw = stream.read(GLANCE)
        whole = not stream.read(1)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if whole or error.start < len(raw) - 4:  # else the glance ends within a character
            line = raw.count(b"\n", 0, error.start) + 1
            raise _not_utf8(raw, error, f"{file}:{line}") from None
        text = raw[: error.start].decode("utf-8-sig")
    lines = text.count("\n")
    table = csv.reader(io.StringIO(text, newline=""))
    number, shape, header = 0, None, list[str]()
    try:
        for cells in table:
            number = table.line_num
            if not cells:
                continue
            if shape is None:
                header, shape = cells, detect(cells, wanted, f"{file}:{number}", objective)
                seen = 0
                continue
            if not whole and number > lines:
                return  # the last line that was read may go on
            seen += 1
            if len(cells) > len(header):
                raise UserError(
                    f"{file}:{number}: {len(cells)} cells under {len(header)} columns",
                    "put cells that hold commas into double quotes",
                )
            problem = row_problem(dict(zip(header, cells, strict=False)), shape, wanted)
            if problem and (rows is None or seen <= rows):
                raise refused(f"{file}:{number}", problem)
    except csv.Error as error:
        raise UserError(f"{file}:{number + 1}: {error}", REPAIR) from None
    if shape is None or not seen:
        raise UserError(f"{file} has no rows", "write a row a line, or name another file")


def _check_tail(file: Path, size: int) -> None:
    """Look at the last line of a large file: one that was cut short ends in half a row."""
    with file.open("rb") as stream:
        stream.seek(max(0, size - 1_000_000))
        lines = [line for line in stream.read().split(b"\n") if line.strip()]
    if len(lines) > 1:  # else a single line longer than what was read
        _row(lines[-1], f"{file}, last line")
