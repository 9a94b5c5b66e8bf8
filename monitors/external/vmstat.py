"""The table that `vmstat -t 1 -y` prints (procps 4.0.2): one row a tick, memory in KiB."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

_WIDTHS = {
    "r": 2, "b": 2,
    "swpd": 6, "free": 6, "buff": 6, "cache": 6,
    "si": 4, "so": 4,
    "bi": 5, "bo": 5,
    "in": 4, "cs": 4,
    "us": 2, "sy": 2, "id": 2, "wa": 2, "st": 2,
}  # fmt: skip
COLUMNS = tuple(_WIDTHS)
# Columns other options and other versions of procps print.
_KNOWN = {*COLUMNS, "inact", "active", "gu"}
_GROUPS = "procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----"
_STAMP = " -----timestamp-----"
_BLOCK = 21


def header_due(row: int) -> bool:
    """Whether the header stands before row `row` (from 0): 20 rows in the first block, then 21."""
    return row == 0 or (row + 1) % _BLOCK == 0


def header(wall: float, zone: str | None = None) -> str:
    """The two header lines; the second carries the name of the zone the rows are in."""
    names = " ".join(f"{name:>{width}}" for name, width in _WIDTHS.items())
    zone = zone or time.localtime(wall).tm_zone
    return f"{_GROUPS}{_STAMP}\n{names} {zone:>{len(_STAMP) - 1}}\n"


def row(wall: float, values: Mapping[str, int], zone: timezone | None = None) -> str:
    """One line in local time, or in `zone`. A number too wide moves the rest to the right."""
    cells = " ".join(f"{values[name]:>{width}}" for name, width in _WIDTHS.items())
    return f"{cells} {datetime.fromtimestamp(wall, zone):%Y-%m-%d %H:%M:%S}\n"


@dataclass(frozen=True, slots=True)
class VmstatRow:
    """One row: when (local, the zone is in the header) and the columns by their names."""

    when: datetime | None
    zone: str | None
    values: dict[str, int]


class VmstatReader:
    """Iterates over the rows of vmstat text; `skipped` counts the lines that made no sense.

    `lines` keep their line ends, as a file gives them: a last line without one is a torn one.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.skipped = 0

    def __iter__(self) -> Iterator[VmstatRow]:
        """Rows in the order of the file."""
        columns: list[str] = []
        zone: str | None = None
        for line in self._lines:
            cells = line.split()
            if not cells or cells[0].strip("-") == "procs":
                continue
            if cells[:2] == ["r", "b"]:
                columns = [cell for cell in cells if cell in _KNOWN]
                zone = " ".join(cells[len(columns) :]) or None
                continue
            found = _row(columns, cells, zone) if line.endswith("\n") else None
            if found is None:
                self.skipped += 1
            else:
                yield found


def _row(columns: list[str], cells: list[str], zone: str | None) -> VmstatRow | None:
    stamp = cells[len(columns) :]
    if len(stamp) == 3 and not stamp[2].isalpha():
        return None
    if not columns or len(cells) < len(columns) or len(stamp) not in (0, 2, 3):
        return None
    numbers = cells[: len(columns)]
    if not all(cell.isascii() and cell.isdigit() and len(cell) < 19 for cell in numbers):
        return None
    when = None
    if stamp:
        try:
            when = datetime.strptime(" ".join(stamp[:2]), "%Y-%m-%d %H:%M:%S")
        except ValueError:
            return None
    # Some versions repeat the zone in each row.
    zone = stamp[2] if len(stamp) == 3 else zone
    return VmstatRow(when, zone, dict(zip(columns, map(int, numbers), strict=True)))
