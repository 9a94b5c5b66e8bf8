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
    found = []
    for node, last in zip(known, moments, strict=True):
        late = 0.0 if last is None or end is None else (end - last).total_seconds()
        if late >= LATE_S and node.end_reason is None and node.starts:
            text = f"no samples in the last {late:.0f} s of the job: what happened then is unknown"
            node = replace(node, problems=(*node.problems, text))
        found.append(node)
    return tuple(found)


def _moment(iso: str | None) -> datetime | None:
    """A moment of a known zone: without one it cannot be compared."""
    try:
        moment = datetime.fromisoformat(iso) if iso else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
