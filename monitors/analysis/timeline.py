"""All nodes on one time axis, in cells of equal width: lowest, mean and highest value of each.

The width is a power of two seconds and the cells begin at multiples of it, so cells of one node
can be joined with those of another, or made coarser, without touching the samples again. Lowest and
highest are kept, so a spike of one sample stays visible however wide the cells are.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.analysis.columns import derived
from monitors.analysis.trace import NodeTrace
from monitors.records import GpuInfo
from monitors.storage.block_arrays import FloatArray

Cells = NDArray[np.float32]
MOST_CELLS = 4096
"""Cells of one node; half of that at least where there are enough samples."""
_JITTER = 1.5
"""Cells are wider than the interval by this much, so that a late sample leaves no empty one."""


@dataclass(frozen=True)
class Band:
    """One value over time; not a number in a cell without a known value."""

    low: Cells
    mean: Cells
    high: Cells


@dataclass(frozen=True)
class GpuLine:
    """One GPU on the axis."""

    info: GpuInfo
    bands: dict[str, Band]


@dataclass(frozen=True)
class NodeLine:
    """One node on an axis of its own until `joined` puts all on one."""

    node: str
    exponent: int
    """Cells are 2**exponent seconds wide."""
    first: int
    """Number of the first cell, counted from 1970."""
    cells: int
    bands: dict[str, Band] = field(default_factory=dict)
    gpus: tuple[GpuLine, ...] = ()
    utc_offset_s: int = 0
    clock_jumps: int = 0
    sampled: tuple[float, float] | None = None
    """Unix seconds of its first and last sample: cells begin before and end after them."""


@dataclass(frozen=True)
class Timeline:
    """All nodes on one axis."""

    begin: float
    """Unix seconds of the left edge of the first cell."""
    step_s: float
    cells: int
    nodes: tuple[NodeLine, ...]

    @property
    def edges(self) -> FloatArray:
        """Left edges of all cells, and the right one of the last; Unix seconds."""
        return np.arange(self.cells + 1, dtype=np.float64) * self.step_s + self.begin

    @property
    def record(self) -> tuple[float, float]:
        """Unix seconds of the first and the last sample of any node, whatever the cells' edges."""
        spans = [node.sampled for node in self.nodes if node.sampled]
        if not spans:
            return float(self.edges[0]), float(self.edges[-1])
        return min(begin for begin, _ in spans), max(end for _, end in spans)

    @property
    def gpus(self) -> tuple[tuple[NodeLine, GpuLine], ...]:
        """Every GPU with its node."""
        return tuple((node, gpu) for node in self.nodes for gpu in node.gpus)


def reduced(trace: NodeTrace, most: int = MOST_CELLS, ahead_s: float = 0.0) -> NodeLine | None:
    """Put one node's samples into cells; None where it has no sample.

    `ahead_s` is how far its clock is ahead of the one that all are to be shown by.
    """
    wall = trace.wall
    if not len(wall):
        return None
    wall = wall - ahead_s
    sampled = float(wall.min()), float(wall.max())
    # A sample tells of the time before it: half an interval back it is in the middle of that.
    wall = wall - trace.interval_s / 2
    first_s, last_s = float(wall.min()), float(wall.max())
    exponent = math.ceil(math.log2(max(trace.interval_s * _JITTER, 1 / 64)))
    while (last_s - first_s) / 2.0**exponent > most - 1:
        exponent += 1
    number = np.floor(wall / 2.0**exponent).astype(np.int64)
    order = None
    if (np.diff(number) < 0).any():
        order = np.argsort(number, kind="stable")
        number = number[order]
    first, cells = int(number[0]), int(number[-1] - number[0] + 1)
    starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
    target = number[starts] - first

    def bands(columns: dict[str, FloatArray]) -> dict[str, Band]:
        return {
            name: _band(column if order is None else column[order], starts, target, cells)
            for name, column in columns.items()
        }

    host, gpus = derived(trace)
    return NodeLine(
        trace.node,
        exponent,
        first,
        cells,
        bands(host),
        tuple(
            GpuLine(gpu.info, bands(columns)) for gpu, columns in zip(trace.gpus, gpus, strict=True)
        ),
        trace.utc_offset_s,
        trace.clock_jumps,
        sampled,
    )


def joined(lines: Iterable[NodeLine], most: int = MOST_CELLS) -> Timeline | None:
    """Put all nodes on one axis of `most` cells or fewer; None where there is no node."""
    nodes = tuple(lines)
    if not nodes:
        return None
    exponent = max(node.exponent for node in nodes)
    while True:
        shifts = [exponent - node.exponent for node in nodes]
        pairs = list(zip(nodes, shifts, strict=True))
        first = min(node.first >> shift for node, shift in pairs)
        last = max((node.first + node.cells - 1) >> shift for node, shift in pairs)
        if last - first < most:
            break
        exponent += 1
    cells = last - first + 1
    moved = tuple(_moved(node, shift, first, cells) for node, shift in pairs)
    return Timeline(first * 2.0**exponent, 2.0**exponent, cells, moved)


def _moved(node: NodeLine, shift: int, first: int, cells: int) -> NodeLine:
    number = (node.first + np.arange(node.cells)) >> shift
    starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
    target = number[starts] - first

    def moved(bands: dict[str, Band]) -> dict[str, Band]:
        return {name: _joined_band(band, starts, target, cells) for name, band in bands.items()}

    gpus = tuple(GpuLine(gpu.info, moved(gpu.bands)) for gpu in node.gpus)
    changed: dict[str, Any] = {"exponent": node.exponent + shift, "first": first, "cells": cells}
    return NodeLine(
        node.node,
        bands=moved(node.bands),
        gpus=gpus,
        utc_offset_s=node.utc_offset_s,
        clock_jumps=node.clock_jumps,
        sampled=node.sampled,
        **changed,
    )


def _band(values: FloatArray, starts: NDArray[Any], target: NDArray[Any], cells: int) -> Band:
    if not np.isnan(values.sum()):  # then all are known, which is quicker
        count = np.diff(starts, append=len(values))
        return Band(
            _spread(np.minimum.reduceat(values, starts), target, cells),
            _spread(np.add.reduceat(values, starts) / count, target, cells),
            _spread(np.maximum.reduceat(values, starts), target, cells),
        )
    known = ~np.isnan(values)
    count = np.add.reduceat(known, starts, dtype=np.int64)
    total = np.add.reduceat(np.where(known, values, 0.0), starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
    return Band(
        _spread(np.fmin.reduceat(values, starts), target, cells),
        _spread(mean, target, cells),
        _spread(np.fmax.reduceat(values, starts), target, cells),
    )


def _joined_band(band: Band, starts: NDArray[Any], target: NDArray[Any], cells: int) -> Band:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = _band(band.mean.astype(np.float64), starts, target, cells).mean
        return Band(
            _spread(np.fmin.reduceat(band.low, starts), target, cells),
            mean,
            _spread(np.fmax.reduceat(band.high, starts), target, cells),
        )


def _spread(values: FloatArray | Cells, target: NDArray[Any], cells: int) -> Cells:
    whole = np.full(cells, np.nan, dtype=np.float32)
    whole[target] = np.clip(values, -3e38, 3e38)
    return whole
