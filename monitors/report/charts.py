"""What the page's plots show, packed small: lowest, highest and mean of a cell, a byte each."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from monitors.analysis.events import Events
from monitors.analysis.timeline import Band, NodeLine, Timeline, joined

_UNKNOWN = 255
_LEVELS = 254
BYTES = 1_500_000
"""What the plots' data may take in the page, about; less where there is less to show."""
BYTES_MANY = 3_800_000
_MANY_LINES = 400
_MOST_CELLS = 2048
_LEAST_CELLS = 240
_CHARS_A_CELL = 4  # three bytes in base64
_MOST_STEPS = 3000
_MIB_A_GIB = 1024
_MB_A_GB = 1000


def pack(
    timeline: Timeline, marks: Events, flagged: Iterable[str] = (), utc_offset_s: int = 0
) -> dict[str, Any]:
    """Plain values for the page's script."""
    lines = sum(_charts_a_gpu(node) * len(node.gpus) + 7 for node in timeline.nodes)
    room = BYTES if lines < _MANY_LINES else BYTES_MANY
    most = min(_MOST_CELLS, max(_LEAST_CELLS, room // (_CHARS_A_CELL * max(lines, 1))))
    coarse = joined(timeline.nodes, most) or timeline
    traffic = _top(
        [node.bands for node in coarse.nodes],
        ("net_rx_mb_s", "net_tx_mb_s", "ib_rx_mb_s", "ib_tx_mb_s"),
    )
    links = _top([gpu.bands for _, gpu in coarse.gpus], ("nvlink_mb_s",))
    names = set(flagged)
    return {
        "begin": coarse.begin,
        "step": coarse.step_s,
        "cells": coarse.cells,
        "offset": utc_offset_s,
        "steps": _steps(marks),
        "spans": [[span.kind, span.begin, span.end] for span in marks.spans][:_MOST_STEPS],
        "nodes": [
            {"name": node.node, "charts": _charts(node, traffic, links, names)}
            for node in coarse.nodes
        ],
    }


def _charts_a_gpu(node: NodeLine) -> int:
    known = {name for gpu in node.gpus for name in gpu.bands}
    return 3 + len(known & {"tensor_active_pct", "nvlink_mb_s"})


def _charts(
    node: NodeLine, traffic: float, links: float, flagged: set[str]
) -> list[dict[str, Any]]:
    charts = []
    gpus = [(f"{gpu.info.index}", gpu) for gpu in node.gpus]
    marked = [f"{node.node} GPU {gpu.info.index}" in flagged for gpu in node.gpus]
    limits = [gpu.info.power_limit_w or 0.0 for gpu in node.gpus]
    cards = [gpu.info.memory_total_mib or 0.0 for gpu in node.gpus]

    def add(
        title: str,
        unit: str,
        lines: Sequence[tuple[str, Band | None]],
        top: float | None,
        *,
        kind: str = "lines",
        limit: float | None = None,
        scale: float = 1.0,
        marks: Sequence[bool] = (),
    ) -> None:
        known = [
            (name, band, bool(marks) and marks[at])
            for at, (name, band) in enumerate(lines)
            if band is not None and np.isfinite(band.mean).any()
        ]
        if not known:
            return
        highest = max(float(np.nanmax(band.high)) for _, band, _ in known) / scale
        bound = top if top is not None and top >= highest else nice(max(highest, top or 0.0))
        charts.append(
            {
                "title": title,
                "unit": unit,
                "kind": kind,
                "top": bound,
                "limit": limit,
                "lines": [
                    {"name": name, "flag": flag, "data": quantized(band, bound * scale)}
                    for name, band, flag in known
                ],
            }
        )

    def of_gpus(value: str) -> list[tuple[str, Band | None]]:
        return [(f"GPU {name}", gpu.bands.get(value)) for name, gpu in gpus]

    def of_host(*named: tuple[str, str]) -> list[tuple[str, Band | None]]:
        return [(label, node.bands.get(value)) for value, label in named]

    add("GPU SM", "%", of_gpus("sm_pct"), 100, kind="strips", marks=marked)
    add("GPU tensor cores", "%", of_gpus("tensor_active_pct"), 100, kind="strips", marks=marked)
    limit = max(limits, default=0.0)
    add("GPU power", "W", of_gpus("power_w"), limit or None, limit=limit or None, marks=marked)
    card = max(cards, default=0.0) / _MIB_A_GIB
    add(
        "GPU memory",
        "GiB",
        of_gpus("memory_used_mib"),
        card or None,
        limit=card or None,
        scale=_MIB_A_GIB,
        marks=marked,
    )
    add(
        "GPU NVLink, in and out",
        "GB/s",
        of_gpus("nvlink_mb_s"),
        links / _MB_A_GB,
        scale=_MB_A_GB,
        marks=marked,
    )
    add("CPU", "%", of_host(("cpu_busy_pct", "busy"), ("cpu_iowait_pct", "waiting for disks")), 100)
    add(
        "Pressure: some task stood still",
        "%",
        of_host(
            ("psi_cpu_pct", "for a core"),
            ("psi_memory_pct", "for memory"),
            ("psi_io_pct", "for disks"),
        ),
        100,
    )
    add(
        "Network",
        "MB/s",
        of_host(
            ("net_rx_mb_s", "Ethernet in"),
            ("net_tx_mb_s", "Ethernet out"),
            ("ib_rx_mb_s", "InfiniBand in"),
            ("ib_tx_mb_s", "InfiniBand out"),
        ),
        traffic,
    )
    return charts


def quantized(band: Band, top: float) -> str:
    """Three bytes a cell in base64: lowest, highest, mean; 0 to 254 of `top`, 255 unknown."""
    cells = np.stack((band.low, band.high, band.mean), axis=1).astype(np.float64)
    known = np.isfinite(cells)
    scaled = np.where(known, cells, 0.0) / (top or 1.0) * _LEVELS
    scaled = np.clip(np.rint(scaled), 0, _LEVELS)
    packed = np.where(known, scaled, _UNKNOWN).astype(np.uint8)
    return base64.b64encode(packed.tobytes()).decode("ascii")


def nice(value: float) -> float:
    """A round number at or above a value: 1, 2, 2.5 or 5 times a power of ten."""
    if not value > 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999999)


def _top(bands: Sequence[Mapping[str, Band]], names: Sequence[str]) -> float:
    """One scale for all nodes, so that they can be compared."""
    peaks = [
        float(np.nanmax(found[name].high))
        for found in bands
        for name in names
        if name in found and np.isfinite(found[name].high).any()
    ]
    return nice(max(peaks, default=1.0))


def _steps(marks: Events) -> list[list[float | int | None]]:
    """Time, number, loss and tokens a second of each step; of very many, groups of equal length.

    A group keeps its highest loss and its slowest step: what one looks for is the exception.
    """
    steps = marks.steps
    size = -(-len(steps) // _MOST_STEPS) or 1
    found: list[list[float | int | None]] = []
    for at in range(0, len(steps), size):
        group = steps[at : at + size]
        losses = [step.loss for step in group if step.loss is not None]
        paces = [step.tokens / step.seconds for step in group if step.tokens is not None]
        found.append(
            [
                group[-1].end,
                group[-1].number,
                max(losses, default=None),
                round(min(paces), 3) if paces else None,
            ]
        )
    return found
