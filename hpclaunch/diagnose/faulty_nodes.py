"""Which nodes a run's failures came from, and which of them it is to leave out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hpclaunch.diagnose.registry import NODE_FAULTS

MOST_FAILURES = 2
"""Failures after which a node is left out: once is an accident."""


def failures(events: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Count the failures that may lie with a node, by its name."""
    nodes: Counter[str] = Counter()
    for event in events:
        if event.get("event") == "failure" and event.get("kind") in NODE_FAULTS:
            nodes.update({event["node"]} if isinstance(event.get("node"), str) else ())
    return nodes


def failed_twice(events: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the nodes that failed twice."""
    return tuple(sorted(node for node, times in failures(events).items() if times >= MOST_FAILURES))


def left_out(events: Sequence[Mapping[str, Any]], job: str) -> tuple[str, ...]:
    """Return the nodes that a job has been excluded from (Slurm's ExcNodeList)."""
    return tuple(sorted(_nodes("left out", events, job)))


def kept(events: Sequence[Mapping[str, Any]], job: str) -> tuple[str, ...]:
    """Return the nodes that could not be left out of a job: it would have had too few."""
    return tuple(sorted(_nodes("kept", events, job)))


def _nodes(name: str, events: Sequence[Mapping[str, Any]], job: str) -> set[str]:
    lists = [event.get("nodes") for event in events if event.get("event") == name
             and str(event.get("job")) == job]  # fmt: skip
    return {node for nodes in lists if isinstance(nodes, list) for node in nodes
            if isinstance(node, str)}  # fmt: skip
