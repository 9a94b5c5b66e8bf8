"""The columns of the rows of GPUs. To show another value, add a Column here: nothing else changes.

Every Column has its head with the unit, its width in characters, and a function that returns a
cell. The first are shown on every screen; those of a higher rank where there is room.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from hpclaunch.frozen import frozen
from hpclaunch.watch.columns import Column
from hpclaunch.watch.figures import (
    NONE,
    Gpu,
    gib,
    gpu_value,
    lately,
    number,
    percent,
    rate,
    total,
)
from hpclaunch.watch.history import history
from hpclaunch.watch.sparkline import Glyphs, spark
from hpclaunch.watch.styles import BAD, OLD
from monitors.storage.live import NodeNow


@frozen
class GpuRow:
    """A GPU, and the node that it is in."""

    node: NodeNow
    gpu: Gpu

    def style(self, style: str = "") -> str:
        """Return the style of a value: a dim one where the node's values are not current."""
        return style if self.node.current else OLD

    def recent(self, name: str) -> float | None:
        """Return the last known value of those that are sampled only now and then."""
        return lately(self.node, self.gpu.index, name)


def _text(write: Callable[[GpuRow], str]) -> Callable[[GpuRow, int, Glyphs], Text]:
    """Return the cells of a column of plain text."""

    def cell(row: GpuRow, width: int, glyphs: Glyphs) -> Text:
        return Text(write(row), style=row.style())

    return cell


def _curve(
    name: str, style: str, top: Callable[[GpuRow], float | None] | None = None
) -> Callable[[GpuRow, int, Glyphs], Text]:
    """Return the cells of a curve over the last minutes, between 0 and `top`, by default 100."""

    def cell(row: GpuRow, width: int, glyphs: Glyphs) -> Text:
        values = history(row.node, lambda point: gpu_value(point, row.gpu.index, name), width)
        known = [value for value in values if value is not None]
        highest = 100.0 if top is None else top(row) or max(known, default=1.0)
        return Text(spark(values, 0, highest, glyphs), style=row.style(style))

    return cell


def _power_limit(row: GpuRow) -> float | None:
    return row.gpu.info.power_limit_w if row.gpu.info else None


def _sample(row: GpuRow, name: str) -> float | None:
    """Return a value of the newest sample, by its name in GpuSample."""
    if row.gpu.sample is None:
        return None
    value: float | None = getattr(row.gpu.sample, name)
    return value


def _power(row: GpuRow, width: int, glyphs: Glyphs) -> Text:
    # A GPU whose clocks are held back for heat shows it in its power, on every screen.
    hot = row.gpu.hot and row.node.current
    return Text(number(_sample(row, "power_w")), style=BAD if hot else row.style())


def _temperature(row: GpuRow, width: int, glyphs: Glyphs) -> Text:
    value = _sample(row, "temperature_c")
    hot = row.gpu.hot and row.node.current
    text = NONE if value is None else f"{number(value)}{glyphs.degree}"
    return Text(f"{text} hot" if hot else text, style=BAD if hot else row.style())


def _nvlink(row: GpuRow) -> float | None:
    return total(row.recent(f"nvlink_{way}_mb_s") for way in ("rx", "tx"))


def _size(row: GpuRow) -> float | None:
    return row.gpu.info.memory_total_mib if row.gpu.info else None


GPU_COLUMNS: tuple[Column[GpuRow], ...] = (
    Column("#", 2, _text(lambda row: str(row.gpu.index))),
    Column("gpu %", 5, _text(lambda row: percent(_sample(row, "sm_pct")))),
    Column("last 3 min", 4, _curve("sm_pct", "green"), curve=True),
    Column("W", 4, _power),
    Column("of W", 5, _text(lambda row: number(_power_limit(row))), rank=3),
    Column("last 3 min", 8, _curve("power_w", "magenta", _power_limit), rank=2, curve=True),
    Column("GiB", 5, _text(lambda row: gib(_sample(row, "memory_used_mib")))),
    Column("of GiB", 6, _text(lambda row: gib(_size(row))), rank=1),
    Column("temp C", 7, _temperature, rank=1),
    Column("tensor %", 8, _text(lambda row: percent(row.recent("tensor_active_pct"))), rank=4,
           known=lambda row: row.recent("tensor_active_pct") is not None),
    Column("NVLink", 8, _text(lambda row: rate(_nvlink(row))), rank=4,
           known=lambda row: _nvlink(row) is not None),
)  # fmt: skip
"""From left to right."""
