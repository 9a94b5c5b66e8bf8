"""Blocks as arrays, for reports and exports: no object is made of a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.samples.fields import WHOLE_NUMBERS
from monitors.storage.formats.block_reader import Block, ColumnLayout

FloatArray = NDArray[np.float64]
_MOST = 1e24
"""More than any counter, whatever its unit; as in `formats.json_lines`."""


@dataclass(frozen=True, slots=True)
class TickArrays:
    """The ticks of a block. NaN where a value is not known."""

    n: NDArray[np.int64]
    wall: FloatArray
    mono: FloatArray
    host: dict[str, FloatArray]
    own: dict[str, FloatArray]
    gpus: tuple[int, ...]
    """Numbers of the GPUs, in the order of the rows of `gpu_values`."""
    answered: NDArray[np.intp]
    """The ticks in which the GPUs answered, by their place: the columns of `gpu_values`."""
    gpu_values: dict[str, FloatArray]
    """A row for each GPU."""


def arrays(block: Block, host: Iterable[str], gpu: Iterable[str]) -> TickArrays:
    """Return the wanted values of a block. Raises ValueError for what no sidecar writes."""
    wanted = {
        *(f"host.{name}" for name in host),
        *(f"gpu.{name}" for name in gpu),
        *("n", "wall", "mono", "gpus", "own.cpu_s", "own.max_rss_kib"),
    }
    parts: dict[str, dict[str, Any]] = {"host": {}, "own": {}, "gpu": {}, "": {}}
    for column in block.columns:
        if column.name in wanted:
            part, _, name = column.name.rpartition(".")
            parts[part][name] = _numbers(column, block.cells)
    ticks = parts[""]
    everywhere = np.full(block.ticks, float(block.answered > 0))
    answered = np.flatnonzero(ticks.get("gpus", everywhere))
    if len(answered) != block.answered or not all(
        np.isfinite(ticks[name]).all() for name in ("n", "wall", "mono")
    ):
        raise ValueError("no whole ticks")
    shape = (len(block.gpus), block.answered)
    return TickArrays(
        ticks["n"].astype(np.int64),
        ticks["wall"],
        ticks["mono"],
        parts["host"],
        parts["own"],
        block.gpus,
        answered,
        {name: column.reshape(shape) for name, column in parts["gpu"].items()},
    )


def joined(parts: Sequence[TickArrays]) -> TickArrays:
    """Return the ticks of several blocks as one. All must have the same GPUs."""
    if len(parts) == 1:
        return parts[0]
    lengths = [len(part.n) for part in parts]
    begins = np.cumsum([0, *lengths[:-1]])
    widths = [len(part.answered) for part in parts]
    rows = len(parts[0].gpus)

    def along(columns: Sequence[dict[str, FloatArray]], shapes: Sequence[tuple[int, ...]]) -> Any:
        names = dict.fromkeys(name for found in columns for name in found)
        unknown = [np.full(shape, np.nan) for shape in shapes] if names else []
        return {
            name: np.concatenate(
                [found.get(name, blank) for found, blank in zip(columns, unknown, strict=True)],
                axis=-1,
            )
            for name in names
        }

    flat = [(length,) for length in lengths]
    return TickArrays(
        np.concatenate([part.n for part in parts]),
        np.concatenate([part.wall for part in parts]),
        np.concatenate([part.mono for part in parts]),
        along([part.host for part in parts], flat),
        along([part.own for part in parts], flat),
        parts[0].gpus,
        np.concatenate([p.answered + begin for p, begin in zip(parts, begins, strict=True)]),
        along([part.gpu_values for part in parts], [(rows, width) for width in widths]),
    )


def _numbers(column: ColumnLayout, cells: bytes) -> FloatArray:
    known, width = column.known, column.width
    if not width:
        cut: NDArray[Any] = np.zeros(known, dtype=np.int8)
    elif width == 1:
        cut = np.frombuffer(cells, np.int8, known, column.begin)
    else:
        planes = np.frombuffer(cells, np.uint8, known * width, column.begin)
        cut = np.ascontiguousarray(planes.reshape(width, known).T).view(f"<i{width}").ravel()
    values = _decimals(column, cut) if isinstance(column.kind, int) else _others(column, cut)
    if column.mask < 0:
        return values
    found = np.full(column.count, np.nan)
    found[np.frombuffer(cells, np.bool_, column.count, column.mask)] = values
    return found


def _decimals(column: ColumnLayout, cut: NDArray[Any]) -> FloatArray:
    # Doubles hold these exactly, see `formats.column_encoding`.
    values = cut.astype(np.float64)
    for _ in range(column.order):
        np.cumsum(values, out=values)
    values += column.base
    if column.kind:
        values /= 10.0 ** int(column.kind)
    return np.trunc(values) if column.name.rpartition(".")[2] in WHOLE_NUMBERS else values


def _others(column: ColumnLayout, cut: NDArray[Any]) -> FloatArray:
    whole = cut.astype(np.int64)
    for _ in range(column.order):
        np.cumsum(whole, out=whole)
    whole += column.base
    if column.kind != "d":
        return (whole.view(np.uint64) if column.kind == "u" else whole).astype(np.float64)
    values = whole.view(np.float64)
    values = np.where(np.abs(values) < _MOST, values, np.nan)
    return np.trunc(values) if column.name.rpartition(".")[2] in WHOLE_NUMBERS else values
