"""Nodes whose record breaks off while those of the others go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from monitors.summary import NodeSummary

LATE_S = 10.0
"""Nodes that end in the same moment leave their last samples within less."""


def cut_off(nodes: Iterable[NodeSummary]) -> tuple[NodeSummary, ...]:
    """The same nodes; of those without an end that fell silent before others, it is said."""
    known = tuple(nodes)
    moments = [_moment(node.last) for node in known]
    end = max((moment for moment in moments if moment is not None), default=None)
    return tuple(
        node if end is None or last is None else _said(node, (end - last).total_seconds())
        for node, last in zip(known, moments, strict=True)
    )


def _said(node: NodeSummary, late_s: float) -> NodeSummary:
    if late_s < LATE_S or node.end_reason is not None or not node.starts:
        return node
    text = f"no samples in the last {late_s:.0f} s of the job: what happened then is unknown"
    return replace(node, problems=(*node.problems, text))


def _moment(iso: str | None) -> datetime | None:
    """A moment of a known zone: without one it cannot be compared."""
    try:
        moment = datetime.fromisoformat(iso) if iso else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
