"""The table that `vmstat -t 1 -y` prints (procps 4.0.2): one row a tick, memory in KiB."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TextIO

from monitors.external.rows import RUNNABLE, HostRow, Remarks, plausible

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
UNITS = {"k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}
"""Bytes of each unit that `vmstat -S` knows; without it K."""
OWN_UNIT = "K"
_SHARES = ("us", "sy", "id", "wa", "st", "gu")
_MEMORY = ("swpd", "si", "so")
"""Columns that `-S` changes the unit of, among those that are read."""
_MIB = 1024**2
_MOST_THREADS = 2**22
"""More than Linux can have."""
_ZONE = re.compile(r"[A-Za-z]{1,6}|[+-]\d{2,4}")
_COMMAND = re.compile(r"\bvmstat\b.*\s-S\s*(\w)\b")
SINCE_BOOT = "vmstat's first row, which is the mean since boot, is left out"
UNIT_UNKNOWN = (
    "vmstat's table does not say its unit: how much swap was in use and moved is unknown; give "
    "--vmstat-unit K (what vmstat prints without -S), or what was given to -S"
)


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
    after_header: int | None = None
    """Number of the header (from 0) that it follows directly; None where it follows a row."""


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
        headers, after = -1, False
        for line in self._lines:
            cells = line.split()
            if not cells or cells[0].strip("-") == "procs":
                continue
            if is_header(cells):
                # Behind the last column that is known stands the name of the zone.
                columns = cells[: max(n for n, cell in enumerate(cells) if cell in _KNOWN) + 1]
                zone = " ".join(cells[len(columns) :]) or None
                headers, after = headers + 1, True
                continue
            number, after = headers if after else None, False
            found = _row(columns, cells, zone, number) if line.endswith("\n") else None
            if found is None:
                self.skipped += 1
            else:
                yield found


class VmstatRows:
    """Iterates over the rows of vmstat text in the names and units of `HostSample`.

    `unit` is what was given to `vmstat -S`, a key of UNITS; None: the amounts of memory are
    unknown, unless they are 0. The rows that directly follow the headers with the numbers
    `left_out` (from 0) come without values, see `since_boot`.
    """

    def __init__(
        self, lines: Iterable[str], unit: str | None = OWN_UNIT, left_out: Iterable[int] = ()
    ) -> None:
        self._reader = VmstatReader(lines)
        self._bytes = None if unit is None else UNITS[unit]
        self._left_out = frozenset(left_out)
        self.remarks = Remarks()

    def __iter__(self) -> Iterator[HostRow]:
        """Rows in the order of the file."""
        left, unknown = self.remarks.left_out, False
        for row in self._reader:
            if row.after_header in self._left_out:
                if SINCE_BOOT not in self.remarks.notes:
                    self.remarks.notes.append(SINCE_BOOT)
                yield HostRow(row.when, {})  # its second passed all the same
                continue
            values = _cpu(row.values, left)
            unknown |= self._bytes is None and any(row.values.get(name) for name in _MEMORY)
            values |= self._swap(row.values)
            if values and row.values.get("r", _MOST_THREADS) < _MOST_THREADS:
                values[RUNNABLE] = row.values["r"]
            yield HostRow(row.when, values)
        if unknown:
            self.remarks.problems.append(UNIT_UNKNOWN)
        self.remarks.skipped = self._reader.skipped

    def _swap(self, row: Mapping[str, int]) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, columns in (("swap_used_mib", ("swpd",)), ("swap_mib_s", ("si", "so"))):
            if not all(column in row for column in columns):
                continue
            amount = sum(row[column] for column in columns)
            if self._bytes is None:
                found |= {} if amount else {name: 0.0}
                continue
            value = amount * self._bytes / _MIB
            if plausible(name, value):
                found[name] = value
            else:
                self.remarks.left_out["/".join(columns)] += 1
        return found


def rows_of(file: TextIO, unit: str | None) -> VmstatRows:
    """Return the reader of a log; `unit`: see there."""
    left_out = since_boot(file)
    file.seek(0)
    return VmstatRows(file, unit, left_out)


def _cpu(row: Mapping[str, int], left_out: Counter[str]) -> dict[str, float]:
    """Shares of the CPUs' time. Where one is wrong, so are the others: they are of one whole."""
    shares = {name: row[name] for name in _SHARES if name in row}
    wrong = [name for name, share in shares.items() if share > 100]
    # `id` alone can be one above: vmstat rounds.
    wrong = [name for name in wrong if name != "id" or shares[name] > 101]
    left_out.update(wrong)
    if wrong or not {"id", "wa"} <= shares.keys():
        return {}
    # The shares are rounded one by one and can add up to 101.
    return {
        "cpu_busy_pct": max(0, 100 - shares["id"] - shares["wa"]),
        "cpu_iowait_pct": shares["wa"],
    }


def since_boot(lines: Iterable[str]) -> list[int]:
    """Return the numbers of the headers (from 0) after which a row holds the means since boot.

    vmstat prints one such row each time it is started, unless with -y. It counts that row for the
    header's place in either case, so that with -y the first block is a row shorter than the next.
    Where nothing tells, the row is taken to be there: one second less costs nothing.
    """
    blocks: list[int] = []
    for line in lines:
        cells = line.split()
        if is_header(cells):
            blocks.append(0)
        elif blocks and cells and cells[0].isascii() and cells[0].isdigit():
            blocks[-1] += 1
    every = _every(blocks[:-1])
    found, before = [], 0
    for number, size in enumerate(blocks):
        # A header that comes early is of another vmstat, whose output was appended.
        began = number == 0 or before not in (every, every - 1)
        without = size == every - 1 and number + 1 < len(blocks)
        if began and size and not without:
            found.append(number)
        before = size
    return found


def _every(blocks: Sequence[int]) -> int:
    """Return how many rows stand between two headers; on a terminal that is its height."""
    if not blocks or max(blocks) in (_BLOCK - 1, _BLOCK):
        return _BLOCK
    return max(blocks, key=lambda size: (blocks.count(size), size))


def is_header(cells: Sequence[str]) -> bool:
    """Whether the words of a line are the names of vmstat's columns, as Linux has them."""
    return list(cells[:3]) == ["r", "b", "swpd"]


def unit_in(text: str) -> str | None:
    """Return the unit that a command line in a text gives to vmstat; None where there is none."""
    found = _COMMAND.search(text)
    return found[1] if found and found[1] in UNITS else None


def _row(
    columns: list[str], cells: list[str], zone: str | None, after_header: int | None
) -> VmstatRow | None:
    stamp = cells[len(columns) :]
    if len(stamp) == 3 and not _ZONE.fullmatch(stamp[2]):
        return None
    if not columns or len(cells) < len(columns) or len(stamp) not in (0, 2, 3):
        return None
    numbers = cells[: len(columns)]
    if not all(cell.isascii() and cell.isdigit() and len(cell) < 21 for cell in numbers):
        return None
    when = None
    if stamp:
        try:
            when = datetime.strptime(" ".join(stamp[:2]), "%Y-%m-%d %H:%M:%S")
        except ValueError:
            return None
    # Some versions repeat the zone in each row.
    zone = stamp[2] if len(stamp) == 3 else zone
    return VmstatRow(when, zone, dict(zip(columns, map(int, numbers), strict=True)), after_header)
