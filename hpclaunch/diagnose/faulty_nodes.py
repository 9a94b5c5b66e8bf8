"""Which nodes a run's failures came from, and which of them it is to leave out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

BLAMED = {
    "collective-timeout",
    "cuda-error",
    "cuda-mismatch",
    "gpu-error",
    "killed",
    "no-gpu",
    "node-failure",
    "not-met",
}
"""Causes that may lie with the node. An exception, memory, a disk or the hub fail anywhere."""

TWICE = 2
"""Failures after which a node is left out: once is an accident."""


def failures(marks: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Count the failures that may lie with a node, by its name."""
    nodes: Counter[str] = Counter()
    for mark in marks:
        if mark.get("event") == "failure" and mark.get("kind") in BLAMED:
            nodes.update({mark["node"]} if isinstance(mark.get("node"), str) else ())
    return nodes


def worn(marks: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the nodes that failed twice."""
    return tuple(sorted(node for node, times in failures(marks).items() if times >= TWICE))


def left_out(marks: Sequence[Mapping[str, Any]], job: str) -> tuple[str, ...]:
    """Return the nodes that a job was told to leave out."""
    return tuple(sorted(_nodes("left out", marks, job)))


def kept(marks: Sequence[Mapping[str, Any]], job: str) -> tuple[str, ...]:
    """Return the nodes that could not be left out of a job: it would have had too few."""
    return tuple(sorted(_nodes("kept", marks, job)))


def _nodes(event: str, marks: Sequence[Mapping[str, Any]], job: str) -> set[str]:
    lists = [mark.get("nodes") for mark in marks if mark.get("event") == event
             and str(mark.get("job")) == job]  # fmt: skip
    return {node for nodes in lists if isinstance(nodes, list) for node in nodes
            if isinstance(node, str)}  # fmt: skip
