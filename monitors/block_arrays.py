"""Blocks as arrays: a report over a week must not make an object of every value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.formats.samples import WHOLE
from monitors.formats.unpacked import Block, Described

Column = NDArray[np.float64]
_MOST = 1e24
"""As in `formats.samples`: more than any counter."""


@dataclass(frozen=True, slots=True)
class TickArrays:
    """The ticks of a block. Not a number where a value is not known."""

    n: NDArray[np.int64]
    wall: Column
    mono: Column
    host: dict[str, Column]
    own: dict[str, Column]
    gpus: tuple[int, ...]
    """Numbers of the GPUs, in the order of the rows of `cards`."""
    answered: NDArray[np.intp]
    """The ticks in which the GPUs answered, by their place: the columns of `cards`."""
    cards: dict[str, Column]
    """A row for each GPU."""


def arrays(block: Block, host: Iterable[str], gpu: Iterable[str]) -> TickArrays:
    """The wanted values of a block. Raises ValueError for what no sidecar writes."""
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


def _numbers(column: Described, cells: bytes) -> Column:
    known, width = column.known, column.width
    if not width:
        whole = np.zeros(known, dtype=np.int64)
    elif width == 1:
        whole = np.frombuffer(cells, np.int8, known, column.begin).astype(np.int64)
    else:
        planes = np.frombuffer(cells, np.uint8, known * width, column.begin)
        pairs = np.ascontiguousarray(planes.reshape(width, known).T)
        whole = pairs.view(f"<i{width}").ravel().astype(np.int64)
    for _ in range(column.order):
        np.cumsum(whole, out=whole)
    whole += column.base
    if isinstance(column.kind, int):
        values = whole / 10.0**column.kind
    elif column.kind == "d":
        values = whole.view(np.float64)
        values = np.where(np.abs(values) < _MOST, values, np.nan)
    else:
        values = (whole.view(np.uint64) if column.kind == "u" else whole).astype(np.float64)
    if column.kind not in ("i", "u") and column.name.rpartition(".")[2] in WHOLE:
        values = np.trunc(values)
    if column.mask < 0:
        return values
    mask = np.frombuffer(cells, np.bool_, column.count, column.mask)
    found = np.full(column.count, np.nan)
    found[mask] = values
    return found
