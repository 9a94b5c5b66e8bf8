"""Whose a row is, where no column of a table of `nvidia-smi --query-gpu` tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from monitors.external.rows import GpuRow, Remarks

_ADD = "record the columns timestamp and index, too"
_NO_COLUMN = "no column tells which GPU a row is of"
_MANY = f"{_NO_COLUMN}, and there seem to be several: {_ADD}"
_APART = 3.0
"""A pause between two ticks is longer than one within by this factor."""
_WITHIN_S = 0.5
"""nvidia-smi takes some 10 ms from one GPU to the next, never as long as this."""
_QUICK_S = 0.1
"""Rows that are all as close as this may be of one GPU or of several."""
_LEAST_PAUSE_S = 0.001
_MOST_GPUS = 16
_LEAST_ROWS = 8
_LEAST_BLOCKS = 3
_SLOWLY_CHANGING = ("memory_used_mib", "temperature_c", "power_w", "sm_pct")


def numbered(blocks: Sequence[Sequence[GpuRow]], remarks: Remarks) -> Iterator[GpuRow]:
    """Yield the rows with the GPU that each is of, by the order in which nvidia-smi prints them.

    `blocks` are the rows under each header. None where that cannot be told; `remarks` says so.
    """
    rows = [row for block in blocks for row in block]
    if not rows:
        return
    if _each_is_a_tick(blocks):
        remarks.problems.append(
            f"{_NO_COLUMN}: numbered by the order of the rows under each header"
        )
        yield from (row for block in blocks for row in _in_order(block))
        return
    gpus = _gpus_by_time(rows) if all(row.when for row in rows) else _one_gpu(rows)
    if gpus is None:
        remarks.problems.append(_MANY)
        return
    if gpus == 1:
        remarks.problems.append(f"{_NO_COLUMN}: taken to be of one GPU; if not, {_ADD}")
    else:
        remarks.problems.append(
            f"{_NO_COLUMN}: {gpus} GPUs numbered by the order of the rows of one moment"
        )
    for tick in _ticks(rows, gpus):
        if len(tick) != gpus:
            remarks.skipped += len(tick)
            continue
        yield from _in_order(tick)


def _in_order(tick: Sequence[GpuRow]) -> Iterator[GpuRow]:
    for number, row in enumerate(tick):
        yield replace(row, info=replace(row.info, index=number))


def _each_is_a_tick(blocks: Sequence[Sequence[GpuRow]]) -> bool:
    """Whether nvidia-smi was started anew for each moment: few rows under each header, as many."""
    sizes = [len(block) for block in blocks]
    return (
        len(sizes) >= _LEAST_BLOCKS
        and 1 <= sizes[0] <= _MOST_GPUS
        and set(sizes[:-1]) == {sizes[0]}
        and sizes[-1] <= sizes[0]
    )


def _seconds(rows: Sequence[GpuRow]) -> list[float]:
    """From each row to the next."""
    moments = [row.when for row in rows if row.when is not None]
    return [(b - a).total_seconds() for a, b in pairwise(moments)]


def _threshold(pauses: Sequence[float]) -> float | None:
    """Seconds that part the pauses between ticks from those within; None: all are alike."""
    known = sorted(max(pause, _LEAST_PAUSE_S) for pause in pauses)
    steps = [(b / a, (a * b) ** 0.5) for a, b in pairwise(known)]
    ratio, between = max(steps, default=(1.0, 0.0))
    within = [pause for pause in known if pause < between]
    return between if ratio >= _APART and median(within) < _WITHIN_S else None


def _gpus_by_time(rows: Sequence[GpuRow]) -> int | None:
    """How many rows come at once, before a pause; None where that is not the same all the time."""
    pauses = _seconds(rows)
    between = _threshold(pauses)
    if between is None:
        return None if pauses and median(pauses) < _QUICK_S else _one_gpu(rows)
    sizes, size = [], 1
    for pause in pauses:
        if pause >= between:
            sizes.append(size)
            size = 1
        else:
            size += 1
    gpus = max(set(sizes), key=sizes.count)
    return gpus if sizes.count(gpus) >= 0.9 * len(sizes) else None


def _ticks(rows: Sequence[GpuRow], gpus: int) -> Iterator[list[GpuRow]]:
    if gpus == 1:
        yield from ([row] for row in rows)
        return
    pauses = _seconds(rows)
    between = _threshold(pauses) or float("inf")
    tick = [rows[0]]
    for row, pause in zip(rows[1:], pauses, strict=True):
        if pause >= between:
            yield tick
            tick = []
        tick.append(row)
    yield tick


def _one_gpu(rows: Sequence[GpuRow]) -> int | None:
    """1; None where rows look like those of several GPUs in turn.

    Then a row is much more like the one so many rows before than like the one before.
    """
    kept = [tuple(row.values.get(name) for name in _SLOWLY_CHANGING) for row in rows]
    if len(kept) < _LEAST_ROWS:
        return 1
    near = _alike(kept, 1)
    others = (_alike(kept, lag) for lag in range(2, min(_MOST_GPUS, len(kept) // 2) + 1))
    return None if max(others, default=0.0) > near + 0.3 else 1


def _alike(rows: Sequence[tuple[float | None, ...]], lag: int) -> float:
    """Share of the values that are as they were so many rows before."""
    pairs = [
        a == b
        for before, row in zip(rows, rows[lag:], strict=False)
        for a, b in zip(before, row, strict=True)
        if a is not None
    ]
    return sum(pairs) / len(pairs) if pairs else 0.0
