"""The table that `nvidia-smi dmon -o TD -s puct` prints: sixteen columns, one row a GPU and tick.

Scripts in use drop every row with another number of columns, so none is ever added when writing.
Reading goes by the header, because drivers differ in widths and in which columns they have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timezone

from monitors.external.rows import GpuRow, Remarks, plausible
from monitors.records import GpuInfo, GpuSample

COLUMNS = (
    # name, unit, field of GpuSample
    ("pwr", "W", "power_w"),
    ("gtemp", "C", "temperature_c"),
    ("mtemp", "C", "memory_temperature_c"),
    ("sm", "%", "sm_pct"),
    ("mem", "%", "mem_pct"),
    ("enc", "%", "enc_pct"),
    ("dec", "%", "dec_pct"),
    ("jpg", "%", "jpg_pct"),
    ("ofa", "%", "ofa_pct"),
    ("mclk", "MHz", "memory_clock_mhz"),
    ("pclk", "MHz", "sm_clock_mhz"),
    ("rxpci", "MB/s", "pcie_rx_mb_s"),
    ("txpci", "MB/s", "pcie_tx_mb_s"),
)
_READ = {
    **{column: name for column, _, name in COLUMNS},
    "temp": "temperature_c",  # gtemp and mtemp came with driver 390
    "gclk": "sm_clock_mhz",
    "fb": "memory_used_mib",
    "dbecc": "ecc_uncorrected",
    "smutil": "sm_active_pct",  # with --gpm-metrics
}
"""Columns that are read, with the fields they are. `fb` is in MB by its header, but MB of 2^20."""
_FIRST_NAMES = frozenset({"gpu", "date", "time"})
HEADER_EVERY = 20
"""Ticks between two headers: a person paging through the file always has one in sight."""


def header() -> str:
    """The two header lines."""
    names = "".join(f"{name:>7}" for name, _, _ in COLUMNS)
    units = "".join(f"{unit:>7}" for _, unit, _ in COLUMNS)
    return f"#Date        Time         gpu{names} \n#YYYYMMDD    HH:MM:SS     Idx{units} \n"


def row(wall: float, gpu: GpuSample, zone: timezone | None = None) -> str:
    """One line, in local time as the original has it, or in `zone`; `-` for what is not known."""
    stamp = datetime.fromtimestamp(wall, zone).strftime("%Y%m%d    %H:%M:%S")
    cells = []
    for _, _, name in COLUMNS:
        value: float | None = getattr(gpu, name)
        cells.append(f"{'-' if value is None else round(value):>7}")
    return f" {stamp}{gpu.index:>8}{''.join(cells)} \n"


@dataclass(frozen=True, slots=True)
class DmonRow:
    """One row: which GPU, when (local time without a zone), and the columns by their names."""

    gpu: int
    when: datetime | None
    values: dict[str, float | None]
    clock_s: float | None = None
    """Seconds since midnight where only the time of day is told."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Units of the columns, where the header has them."""


class DmonReader:
    """Iterates over the rows of dmon text; `skipped` counts the lines that made no sense.

    `lines` keep their line ends, as a file gives them: a last line without one is a torn one.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.skipped = 0

    def __iter__(self) -> Iterator[DmonRow]:
        """Rows in the order of the file."""
        columns: list[str] = []
        units: dict[str, str] = {}
        for line in self._lines:
            text = line.replace(",", " ").strip()
            if not text:
                continue
            if text.startswith("#"):
                names = text.lstrip("#").lower().split()
                if is_header(line):
                    columns, units = names, {}
                elif len(names) == len(columns):  # the line of units
                    units = dict(zip(columns, names, strict=True))
                continue
            found = _row(columns, units, text.split()) if line.endswith("\n") else None
            if found is None:
                self.skipped += 1
            else:
                yield found


class DmonRows:
    """Iterates over the rows of dmon text in the names and units of `GpuSample`."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._reader = DmonReader(lines)
        self.remarks = Remarks()

    def __iter__(self) -> Iterator[GpuRow]:
        """Rows in the order of the file."""
        for row in self._reader:
            values: dict[str, float] = {}
            for column, value in row.values.items():
                name = _READ.get(column)
                if name is None or value is None:
                    continue
                if plausible(name, value):
                    values[name] = value
                else:
                    self.remarks.left_out[column] += 1
            self._add_violations(row, values)
            yield GpuRow(GpuInfo(row.gpu), row.when, values, row.clock_s)
        self.remarks.skipped = self._reader.skipped

    def _add_violations(self, row: DmonRow, values: dict[str, float]) -> None:
        """With -s v: the time under a power cap in percent; whether it was too hot, or how long."""
        for column, name in (("pviol", "power_capped"), ("tviol", "hot")):
            value = row.values.get(column)
            if value is None:
                continue
            if not 0 <= value <= 100:
                self.remarks.left_out[column] += 1
            elif row.units.get(column, "%" if column == "pviol" else "bool") == "bool":
                values[name] = float(value > 0)
            else:
                values[name] = value / 100


def is_header(line: str) -> bool:
    """Whether a line is the first of dmon's two header lines, not pmon's and no comment."""
    text = line.replace(",", " ").strip()
    names = text.lstrip("#").lower().split()
    return (
        text[:1] == "#" and {*names[:1]} <= _FIRST_NAMES and "gpu" in names and "pid" not in names
    )


def _row(columns: list[str], units: Mapping[str, str], cells: list[str]) -> DmonRow | None:
    if not columns or len(cells) != len(columns):
        return None
    by_name = dict(zip(columns, cells, strict=True))
    index = by_name.pop("gpu")
    if not (index.isascii() and index.isdigit() and len(index) < 6):
        return None
    date, clock = by_name.pop("date", None), by_name.pop("time", None)
    values = {name: _number(cell) for name, cell in by_name.items()}
    if date is None and clock is not None:
        midnight = _when("19700101", clock)
        seconds = None if midnight is None else midnight.replace(tzinfo=UTC).timestamp()
        return DmonRow(int(index), None, values, seconds, units)
    return DmonRow(int(index), _when(date, clock), values, None, units)


def _when(date: str | None, clock: str | None) -> datetime | None:
    try:
        return datetime.strptime(f"{date} {clock}", "%Y%m%d %H:%M:%S")
    except ValueError:
        return None


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:  # "-", and whatever a newer driver may put in its place
        return None
    # Python reads 1_0 as a number. Nothing a GPU has comes near 10^24, and sums of more overflow.
    return value if abs(value) < 1e24 and "_" not in cell else None
