"""The data of the page's plots, packed small: lowest, highest and mean of a cell, a byte each."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from monitors.analysis.events import Events
from monitors.analysis.timeline import Band, GpuLine, NodeLine, Timeline, joined
from monitors.report.chart_list import CHARTS, Chart

_UNKNOWN = 255
_LEVELS = 254
_BYTES = 1_500_000
"""Size of the packed data in the page, at most; of runs with very many lines the second."""
_BYTES_MANY_LINES = 3_800_000
_MANY_LINES = 400
_MOST_CELLS = 2048
_LEAST_CELLS = 64
_CHARS_A_CELL = 4  # three bytes in base64
_MOST_STEPS = 3000


def pack(
    timeline: Timeline,
    events: Events,
    flagged: Iterable[str] = (),
    utc_offset_s: int = 0,
    charts: Sequence[Chart] = CHARTS,
) -> dict[str, Any]:
    """Return plain values for the page's script. `flagged` GPUs are drawn to stand out."""
    lines = sum(1 for chart in charts for _ in _lines(chart, timeline.nodes))
    room = _BYTES if lines < _MANY_LINES else _BYTES_MANY_LINES
    most = min(_MOST_CELLS, max(_LEAST_CELLS, room // (_CHARS_A_CELL * max(lines, 1))))
    coarse = joined(timeline.nodes, most) or timeline
    names = set(flagged)
    shown = [(chart, axis) for chart in charts if (axis := _axis(chart, coarse)) is not None]
    return {
        "begin": coarse.begin,
        "step": coarse.step_s,
        "cells": coarse.cells,
        "offset": utc_offset_s,
        "steps": _steps(events),
        "spans": [[span.kind, span.begin, span.end] for span in events.spans][:_MOST_STEPS],
        "charts": [axis for _, axis in shown],
        "nodes": [
            {"name": node.node, "lines": {chart.key: _packed(chart, axis, node, names)
                                          for chart, axis in shown}}
            for node in coarse.nodes
        ],
    }  # fmt: skip


def _lines(chart: Chart, nodes: Iterable[NodeLine]) -> Iterator[tuple[str, Band, GpuLine | None]]:
    """Labels and bands that a chart shows of some nodes; those without a known value left out."""
    for node in nodes:
        found = (
            [(f"GPU {gpu.info.index}", gpu.bands.get(chart.key), gpu) for gpu in node.gpus]
            if chart.of == "gpu"
            else [(label, node.bands.get(column), None) for column, label in chart.lines]
        )
        for label, band, gpu in found:
            if band is not None and np.isfinite(band.mean).any():
                yield label, band, gpu


def _axis(chart: Chart, timeline: Timeline) -> dict[str, Any] | None:
    """The chart's axis, the same for all nodes so that they can be compared; None without lines."""
    lines = list(_lines(chart, timeline.nodes))
    if not lines:
        return None
    highest = max(float(np.nanmax(band.high)) for _, band, _ in lines) / chart.scale
    lowest = min(float(np.nanmin(band.low)) for _, band, _ in lines) / chart.scale
    limit = None
    if chart.limit is not None:
        limits = [getattr(gpu.info, chart.limit) or 0.0 for _, _, gpu in lines if gpu]
        limit = max(limits, default=0.0) / chart.scale or None
    top = max(chart.top or 0.0, limit or 0.0)
    if top < highest or not top:
        top = nice(highest)
    low = 0.0
    if not chart.from_zero:
        grid = nice((highest - lowest) / 4)
        low, top = math.floor(lowest / grid) * grid, math.ceil(highest / grid) * grid
        top = top if top > low else low + grid
    return {
        "key": chart.key,
        "title": chart.title,
        "unit": chart.unit,
        "of": chart.of,
        "low": low,
        "top": top,
        "limit": limit,
    }


def _packed(
    chart: Chart, axis: dict[str, Any], node: NodeLine, flagged: set[str]
) -> list[dict[str, Any]]:
    low, top = axis["low"] * chart.scale, axis["top"] * chart.scale
    return [
        {
            "name": label,
            "flag": chart.of == "gpu" and f"{node.node} {label}" in flagged,
            "data": quantized(band, low, top),
        }
        for label, band, _ in _lines(chart, (node,))
    ]


def quantized(band: Band, low: float, top: float) -> str:
    """Three bytes a cell in base64: lowest, highest, mean; 0 is `low`, 254 `top`, 255 unknown."""
    cells = np.stack((band.low, band.high, band.mean), axis=1).astype(np.float64)
    known = np.isfinite(cells)
    scaled = (np.where(known, cells, low) - low) / ((top - low) or 1.0) * _LEVELS
    scaled = np.clip(np.rint(scaled), 0, _LEVELS)
    packed = np.where(known, scaled, _UNKNOWN).astype(np.uint8)
    return base64.b64encode(packed.tobytes()).decode("ascii")


def nice(value: float) -> float:
    """A round number at or above a value: 1, 2, 2.5 or 5 times a power of ten."""
    if not value > 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999999)


def _steps(events: Events) -> list[list[float | int | None]]:
    """End, number, loss and tokens/s of each step; of very many, groups of equal length.

    A group keeps its highest loss and its slowest step: what one looks for is the exception.
    """
    steps = events.steps
    size = -(-len(steps) // _MOST_STEPS) or 1
    found: list[list[float | int | None]] = []
    for at in range(0, len(steps), size):
        group = steps[at : at + size]
        losses = [step.loss for step in group if step.loss is not None]
        rates = [step.tokens / step.seconds for step in group if step.tokens is not None]
        found.append(
            [
                group[-1].end,
                group[-1].number,
                max(losses, default=None),
                round(min(rates), 3) if rates else None,
            ]
        )
    return found
