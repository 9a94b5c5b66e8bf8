"""How a table over numbers of nodes is written."""

from __future__ import annotations

from typing import Any

from hpclaunch.cli.plan_text import SHARDINGS, gib, table
from hpclaunch.forecast.scaling import NodeSweep
from hpclaunch.predict.scale import Point, knee
from hpclaunch.units import UNKNOWN, count, duration

BAR = 20
"""Characters of the longest bar."""


def render_scale(made: NodeSweep) -> str:
    """Return the table: the smallest that fits and the knee are marked."""
    per_node = made.first.request.gpus_per_node
    card = made.first.gpu
    head = (
        f"{made.first.request.recipe.model.name}, nodes of {per_node} {card.name if card else ''}"
    )
    most = max((each.tokens_per_second or 0 for each in made.points), default=0)
    lines: list[tuple[str, ...]] = [
        ("nodes", "a GPU", "time", "GPU-hours", "efficiency", "tokens/s, and its layout")
    ]
    lines += [_row(each, most) for each in made.points]
    said = [head, "", table(lines)]
    smallest = next((each.nodes for each in made.points if each.best), None)
    end = knee(made.points)
    if smallest is None:
        said += ["", "fits on none of these: larger cards, more nodes, or --method qlora"]
    else:
        said += ["", f"smallest that fits: {smallest} node{'s' * (smallest > 1)}"]
        rest = [each for each in made.points if each.best]
        if any(each.tokens_per_second is None for each in rest):
            said.append("the time across nodes is unknown: tell the network by --network 200gb, or")
            said.append("measure it: hpclaunch preflight")
        elif end is not None:
            said.append(
                f"worth it up to: {end} node{'s' * (end > 1)} (70% of the best speed a GPU)"
            )
    return "\n".join(said)


def _row(point: Point, most: float) -> tuple[str, ...]:
    best = point.best
    if best is None:
        return (str(point.nodes), "", "", "", "", "does not fit")
    made, lay = best.estimate, best.candidate
    bar = "#" * round(BAR * (point.tokens_per_second or 0) / most) if most else ""
    layout = (
        f"{SHARDINGS[lay.sharding]}, {lay.micro_batch_size} x {lay.gradient_accumulation_steps}"
    )
    hours = UNKNOWN if made.gpu_hours is None else f"{made.gpu_hours:,.1f}"
    share = UNKNOWN if point.efficiency is None else f"{point.efficiency:.0%}"
    speed = f"{count(point.tokens_per_second):>9} {bar:<{BAR}} {layout}"
    return (str(point.nodes), gib(made.memory.total), duration(made.seconds), hours, share, speed)


def scale_json(made: NodeSweep) -> dict[str, Any]:
    """Return the table for programs: bytes, seconds, tokens a second."""
    return {
        "model": made.first.request.recipe.model.name,
        "gpu": made.first.gpu.name if made.first.gpu else None,
        "gpus_per_node": made.first.request.gpus_per_node,
        "knee": knee(made.points),
        "points": [_point(each) for each in made.points],
    }


def _point(point: Point) -> dict[str, Any]:
    best = point.best
    return {
        "nodes": point.nodes,
        "fits": best is not None,
        "layout": best and " ".join(best.candidate.arguments),
        "memory_bytes": best and best.estimate.memory.total,
        "seconds": best and best.estimate.seconds,
        "gpu_hours": best and best.estimate.gpu_hours,
        "tokens_per_second": point.tokens_per_second,
        "efficiency": point.efficiency,
    }
