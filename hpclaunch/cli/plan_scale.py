"""A table over numbers of nodes as text: `hpclaunch plan --nodes 1..8`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hpclaunch.cli.plan_command import with_changes
from hpclaunch.cli.plan_words import gib, layout_text
from hpclaunch.cli.terminal import fold, paint, width
from hpclaunch.cli.text import table
from hpclaunch.forecast.scaling import NodeSweep
from hpclaunch.predict.compare import Candidate
from hpclaunch.predict.scale import KNEE, ScalePoint, knee
from hpclaunch.units import UNKNOWN, count, duration

if TYPE_CHECKING:
    from hpclaunch.cli.terminal import Style

BAR = 20
"""Characters of the longest bar."""
_BAR_FROM = 120
"""Columns of a terminal from which there is room for bars."""
_BESIDE_FROM = 180
"""Columns from which layouts stand beside their row, and not below it."""
_INDENT = "    "
_HEADS = (
    "nodes", "memory per GPU", "total time", "GPU-hours", "efficiency", "tokens/s, all GPUs",
)  # fmt: skip


def render_scale(made: NodeSweep, typed: Sequence[str] = ()) -> str:
    """Return the table, and below it the smallest number that fits, the knee and its command.

    `typed`: the words of a submission, without nodes and layout.
    """
    request, gpu = made.first.request, made.first.gpu
    head = (
        f"{request.recipe.model.name}, nodes of {request.gpus_per_node} {gpu.name if gpu else ''}"
    )
    columns = width()
    bars = columns is None or columns >= _BAR_FROM
    most = max((each.tokens_per_second or 0 for each in made.points), default=0)
    lines = [(*_HEADS, *(("",) if bars else ()), "layout")]
    own = made.first.candidate
    lines += [_row(each, own, most, bars) for each in made.points]
    styles: list[Style] = ["", *("" if each.best else "bad" for each in made.points)]
    beside = columns is None or columns >= _BESIDE_FROM
    text = table(lines, styles) if beside else _layouts_below(lines, styles, columns)
    notes = [part for note in _notes(made) for part in fold(note, columns)]
    smallest = next((each.nodes for each in made.points if each.best), None)
    if smallest is None:
        notes = [paint(note, "bad") for note in notes]
    return "\n".join([head, "", text, "", *notes, *_commands(made, typed)])


def _layouts_below(
    lines: Sequence[Sequence[str]], styles: Sequence[Style], columns: int | None
) -> str:
    """Return the table with the last cell of each row on lines of its own below the row."""
    # The table's last column is one of text: an empty one, so that numbers stay to the right.
    numbers = table([(*line[:-1], "") for line in lines], styles).split("\n")
    heads = len(numbers) - len(lines) + 1  # their words may stand one below the other
    room = None if columns is None else columns - len(_INDENT)
    printed = [*numbers[:heads], _INDENT + lines[0][-1]]
    for number, line in enumerate(lines[1:]):
        printed.append(numbers[heads + number])
        printed += [paint(_INDENT + part, styles[number + 1]) for part in fold(line[-1], room)]
    return "\n".join(printed)


def _commands(made: NodeSweep, typed: Sequence[str]) -> list[str]:
    """Return the command for the row of the knee, and for the smallest that fits. Never folded."""
    fitting = [each for each in made.points if each.best]
    best = knee(made.points)
    rows = {fitting[0].nodes: fitting[0]} if fitting else {}
    rows |= {each.nodes: each for each in fitting if each.nodes == best}
    return [
        f"for {each.nodes} node{'s' * (each.nodes > 1)}: {_command(made, each, typed)}"
        for each in rows.values()
    ]


def _command(made: NodeSweep, point: ScalePoint, typed: Sequence[str]) -> str | None:
    if point.best is None:
        return None
    changes = point.best.candidate.changes(made.first.candidate)
    return with_changes(typed, point.nodes, changes)


def _notes(made: NodeSweep) -> list[str]:
    """Return what the table comes to."""
    fitting = [each for each in made.points if each.best]
    if not fitting:
        if all(each.problem for each in made.points):
            return [f"{made.points[0].problem}: choose another training.global_batch"]
        return ["fits on none of these: use larger GPUs, more nodes, or --method qlora"]
    smallest, end = fitting[0].nodes, knee(made.points)
    notes = [f"smallest that fits: {smallest} node{'s' * (smallest > 1)}"]
    recipe = made.first.request.recipe
    if recipe.follows_global_batch:
        notes.append(f"the global batch is {recipe.training['global_batch']} on any number of them")
    if any(each.tokens_per_second is None for each in fitting):
        notes.append(
            "the time across nodes is unknown: name the network with --network 200gb, or measure "
            "it: hpclaunch preflight"
        )
    elif end is not None:
        share = f"{KNEE:.0%} of the best throughput per GPU"
        notes.append(f"worth it up to: {end} node{'s' * (end > 1)} ({share})")
    return notes


def _row(point: ScalePoint, own: Candidate, most: float, bars: bool) -> tuple[str, ...]:
    best = point.best
    empty = ("",) if bars else ()
    if best is None:
        return (str(point.nodes), "", "", "", "", "", *empty, point.problem or "does not fit")
    made = best.estimate
    share = (point.tokens_per_second or 0) / most if most else 0
    return (
        str(point.nodes),
        gib(made.memory.total),
        duration(made.seconds),
        UNKNOWN if made.gpu_hours is None else f"{made.gpu_hours:,.1f}",
        UNKNOWN if point.efficiency is None else f"{point.efficiency:.0%}",
        count(point.tokens_per_second),
        *((f"{'#' * round(BAR * share):<{BAR}}",) if bars else ()),
        layout_text(best.candidate, own),
    )


def scale_json(made: NodeSweep, typed: Sequence[str] = ()) -> dict[str, Any]:
    """Return the table for programs: bytes, seconds, tokens per second."""
    return {
        "model": made.first.request.recipe.model.name,
        "gpu": made.first.gpu.name if made.first.gpu else None,
        "gpus_per_node": made.first.request.gpus_per_node,
        "knee": knee(made.points),
        "points": [_point(made, each, typed) for each in made.points],
    }


def _point(made: NodeSweep, point: ScalePoint, typed: Sequence[str]) -> dict[str, Any]:
    best = point.best
    return {
        "nodes": point.nodes,
        "fits": best is not None,
        "problem": point.problem or None,
        "layout": best and asdict(best.candidate),
        "command": _command(made, point, typed),
        "memory_bytes": best and best.estimate.memory.total,
        "seconds": best and best.estimate.seconds,
        "gpu_hours": best and best.estimate.gpu_hours,
        "tokens_per_second": point.tokens_per_second,
        "efficiency": point.efficiency,
    }
