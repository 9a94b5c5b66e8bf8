"""The table that `nvidia-smi --query-gpu=... --format=csv` prints: the columns that were asked for.

Units stand in the header and, without `nounits`, in each cell. Reading goes by the header.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from monitors.external.row_order import numbered
from monitors.external.rows import GpuRow, Remarks, plausible
from monitors.records import GpuInfo

_FIELDS = {
    "utilization.gpu": "sm_pct",
    "utilization.memory": "mem_pct",
    "utilization.encoder": "enc_pct",
    "utilization.decoder": "dec_pct",
    "utilization.jpeg": "jpg_pct",
    "utilization.ofa": "ofa_pct",
    "memory.used": "memory_used_mib",
    "power.draw.instant": "power_w",
    "power.draw.average": "power_w",
    "power.draw": "power_w",
    "temperature.gpu": "temperature_c",
    "temperature.memory": "memory_temperature_c",
    "clocks.current.graphics": "sm_clock_mhz",
    "clocks.gr": "sm_clock_mhz",
    "clocks.current.sm": "sm_clock_mhz",
    "clocks.sm": "sm_clock_mhz",
    "clocks.current.memory": "memory_clock_mhz",
    "clocks.mem": "memory_clock_mhz",
    "ecc.errors.uncorrected.volatile.total": "ecc_uncorrected",
    "clocks_throttle_reasons.active": "throttle",
    "clocks_event_reasons.active": "throttle",
}
"""Columns that are read, by the names of `nvidia-smi --help-query-gpu`. Of two that are the same
field the later one counts."""
_FLAGS = {
    "sw_power_cap": "power_capped",
    "sw_thermal_slowdown": "hot",
    "hw_thermal_slowdown": "hot",
    "hw_slowdown": "held_back",
    "hw_power_brake_slowdown": "held_back",
}
"""Ends of `clocks_throttle_reasons.` and `clocks_event_reasons.`: `Active`, `Not Active`."""
_CONSTANT = {
    "memory.total": "memory_total_mib",
    "power.limit": "power_limit_w",
    "enforced.power.limit": "power_limit_w",
}
_NAMES = {"name": "name", "gpu_name": "name", "uuid": "uuid", "gpu_uuid": "uuid",
          "pci.bus_id": "pci_bus", "gpu_bus_id": "pci_bus"}  # fmt: skip
_KNOWN = {*_FIELDS, *_CONSTANT, "memory.free", "fan.speed", "pstate"}
"""No other table has these names."""
_TITLE = re.compile(r"([a-z][\w.]*)(?:\s*\[([^\]]*)\])?", re.IGNORECASE)
_NUMBER = re.compile(r"(-?\d{1,24}(?:\.\d{1,24})?)\s*([^\d\s.]\S*)?")
_FACTORS = {
    "%": 1.0, "C": 1.0, "°C": 1.0, "W": 1.0, "mW": 1e-3, "kW": 1e3, "MHz": 1.0, "GHz": 1e3,
    "KiB": 2.0**-10, "MiB": 1.0, "GiB": 2.0**10,
    "KB": 1e3 / 2**20, "MB": 1e6 / 2**20, "GB": 1e9 / 2**20,
}  # fmt: skip
"""What a number with a unit is multiplied by to be in this project's."""
_LOST = re.compile(r"GPU is lost|Unknown Error|requires reset", re.IGNORECASE)


class QueryGpuRows:
    """Iterates over the rows of such a table in the names and units of `GpuSample`."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self._known: dict[str, dict[str, Any]] = {}
        self._numbers: dict[str, int] = {}
        self._silent: set[str] = set()
        self._any_value = False
        self.remarks = Remarks()

    def __iter__(self) -> Iterator[GpuRow]:
        """Rows in the order of the file; none where it cannot be known whose they are."""
        titles: list[tuple[str, str | None]] = []
        nameless: list[list[GpuRow]] = []
        for line in self._lines:
            text = line.lstrip("\ufeff").strip()
            if not text:
                continue
            found = header(text)
            if found:
                titles = found
                nameless.append([])
                continue
            cells = split(text)
            if not titles or len(cells) != len(titles) or not line.endswith("\n"):
                self.remarks.skipped += 1
                continue
            # Of a column that was asked for twice the last counts.
            row = self._row(dict(zip(titles, cells, strict=True)))
            if row is None:
                self.remarks.skipped += 1
            elif row.info.index < 0:
                nameless[-1].append(row)
            else:
                yield row
        yield from numbered(nameless, self.remarks)
        if titles and not self._any_value:
            self.remarks.problems.append("none of its columns holds a value that is reported")

    def _row(self, cells: dict[tuple[str, str | None], str]) -> GpuRow | None:
        texts = {name: cell for (name, _), cell in cells.items()}
        when = None
        if "timestamp" in texts:
            when = _when(texts["timestamp"])
            if when is None:
                return None
        info = self._info(texts, cells)
        values: dict[str, float] = {}
        for (title, unit), cell in sorted(cells.items(), key=_order):
            name = _FIELDS.get(title)
            flag = _FLAGS.get(title.rpartition("reasons.")[2]) if "reasons." in title else None
            if flag is not None and cell in ("Active", "Not Active"):
                values[flag] = max(values.get(flag, 0.0), float(cell == "Active"))
            value = None if name is None else _value(cell, unit)
            if name is None or value is None:
                continue
            if plausible(name, value):
                values[name] = value
            else:
                self.remarks.left_out[title] += 1
        self._any_value |= bool(values)
        row = GpuRow(info, when, values)
        self._listen(row, texts.values())
        return row

    def _info(self, texts: dict[str, str], cells: dict[tuple[str, str | None], str]) -> GpuInfo:
        names = {_NAMES[title]: cell for title, cell in texts.items()
                 if title in _NAMES and known(cell)}  # fmt: skip
        index = texts.get("index", "")
        if index.isascii() and index.isdigit() and len(index) < 6:
            number = int(index)
        elif key := names.get("uuid") or names.get("pci_bus"):
            number = self._numbers.setdefault(key, len(self._numbers))
            text = f"no column index: GPUs are numbered as they first appear, {number} is {key}"
            if text not in self.remarks.notes:
                self.remarks.notes.append(text)
        else:
            number = -1
        constant = {
            _CONSTANT[title]: value
            for (title, unit), cell in cells.items()
            if title in _CONSTANT and (value := _value(cell, unit))
        }
        key = names.get("uuid") or names.get("pci_bus") or str(number)
        # A GPU that stops answering is still of the same type.
        facts = self._known.setdefault(key, {})
        facts |= names | constant
        return GpuInfo(number, **facts)

    def _listen(self, row: GpuRow, cells: Iterable[str]) -> None:
        answer = next((cell for cell in cells if _LOST.search(cell)), None)
        if answer is not None and row.key not in self._silent:
            self._silent.add(row.key)
            moment = "" if row.when is None else f"{row.when:%Y-%m-%d %H:%M:%S}: "
            text = f"{moment}GPU {row.info.index} cannot be sampled: nvidia-smi answers {answer}"
            self.remarks.notes.append(text)


def header(line: str) -> list[tuple[str, str | None]] | None:
    """Return the names and units of the columns that a header names; None of any other line."""
    if line[:1].isdigit():
        return None
    titles = [_TITLE.fullmatch(cell) for cell in split(line.lstrip("\ufeff").strip())]
    found = [(title[1].lower(), title[2]) for title in titles if title is not None]
    names = {name for name, _ in found}
    # An index column without a title is what a table gets that pandas saved.
    if (
        len(found) < len(titles) - 1
        or not any(name in _KNOWN or "_reasons." in name for name in names)
        or "pid" in names
    ):
        return None
    if len(found) < len(titles):
        return None if titles[0] is not None else [("", None), *found]
    return found


def split(line: str) -> list[str]:
    """Return the cells of a line, without blanks and quotes around them."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]
    except csv.Error:
        return []


def known(cell: str) -> bool:
    """Whether a cell holds a value, not `N/A`, `[Not Supported]` or the like."""
    return bool(cell) and not cell.startswith("[") and cell.upper() not in ("N/A", "ERR!", "-")


def _order(item: tuple[tuple[str, str | None], str]) -> int:
    names = list(_FIELDS)
    return names.index(item[0][0]) if item[0][0] in names else -1


def _value(cell: str, unit: str | None) -> float | None:
    if cell.lower().startswith("0x"):
        try:
            return float(int(cell, 16))
        except ValueError:
            return None
    found = _NUMBER.fullmatch(cell)
    if found is None:
        return None
    unit = found[2] or unit
    factor = 1.0 if unit is None else _FACTORS.get(unit)
    return None if factor is None else float(found[1]) * factor


def _when(cell: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        return None
    return found.replace(tzinfo=None)
