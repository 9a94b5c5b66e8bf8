"""Nodes whose record breaks off while those of the others go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitors.analysis.summary import NodeSummary

LATE_S = 10.0
"""Nodes that end in the same moment leave their last samples within less."""


def cut_off(nodes: Iterable[NodeSummary]) -> tuple[NodeSummary, ...]:
    """Return the nodes; those whose samples end early get a problem that says so."""
    known = tuple(nodes)
    moments = [_moment(node) for node in known]
    end = max((moment for moment in moments if moment is not None), default=None)
    return tuple(
        node if end is None or last is None else _with_problem(node, (end - last).total_seconds())
        for node, last in zip(known, moments, strict=True)
    )


def _with_problem(node: NodeSummary, late_s: float) -> NodeSummary:
    if late_s < LATE_S or node.end_reason is not None or not node.starts:
        return node
    text = f"no samples in the last {late_s:.0f} s of the job: what happened then is unknown"
    return replace(node, problems=(*node.problems, text))


def _moment(node: NodeSummary) -> datetime | None:
    """The last sign of life by a clock common to all; without a zone it cannot be compared."""
    try:
        moment = datetime.fromisoformat(node.last) if node.last else None
        if moment is None or moment.tzinfo is None:
            return None
        return moment.astimezone(UTC) - timedelta(seconds=node.clock_ahead_s or 0.0)
    except (ValueError, OverflowError):
        return None
