"""How few layers of a model tell the memory of all: kinds of layers, and where they repeat."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

TOTAL = "Total"
Parts = dict[str, float]
"""Bytes by part, and their total."""
MOST_PERIOD = 12
"""Layers within which the kinds of a model repeat; beyond, the whole model is simulated."""
LEAST_EDGE = 2
"""Layers at each end that are looked at one by one: a layer's work reaches into its neighbour's."""


@dataclass(frozen=True)
class Cut:
    """Two numbers of layers that a model is cut to, and the ends that both have."""

    few: int
    more: int
    first: int
    """Layers from the first on, each of which is a phase of its own."""
    last: int
    """Layers up to the last, as well."""

    def phase(self, kind: str, layer: int, layers: int) -> str:
        """Return the name of a layer's phase in a model of so many layers, the same in both."""
        if layer < self.first:
            return f"{kind} {layer}"
        return f"{kind} {layer - layers}" if layer >= layers - self.last else f"{kind} between"


def cut_of(kinds: Sequence[Hashable]) -> Cut | None:
    """Return how few layers tell the memory of all; None where only all of them do.

    `kinds`: what each layer consists of. The layers that are cut out are whole periods, so what is
    left ends as the model does.
    """
    depth = len(kinds)
    for period in range(1, min(MOST_PERIOD, depth) + 1):
        prefix = _prefix(kinds, period)
        edge = max(LEAST_EDGE, period)
        front = prefix + edge
        few = front + edge
        few += (depth - few) % period
        more = few + period * -(-2 // period)
        if prefix <= MOST_PERIOD and more < depth:
            return Cut(few, more, front, edge)
    return None


def _prefix(kinds: Sequence[Hashable], period: int) -> int:
    """Return the number of first layers before the kinds repeat after so many layers."""
    at = len(kinds) - period
    while at > 0 and kinds[at - 1] == kinds[at - 1 + period]:
        at -= 1
    return at


def highest(few: Mapping[str, Parts], more: Mapping[str, Parts], cut: Cut, depth: int) -> Parts:
    """Return the parts at the peak of a model of `depth` layers, from two that are cut."""
    deeper = [
        _extended(few[phase], more[phase], (depth - cut.more) / (cut.more - cut.few))
        for phase in few
        if phase in more
    ]
    return max(deeper, key=lambda parts: parts[TOTAL])


def _extended(few: Parts, more: Parts, times: float) -> Parts:
    return {
        part: more.get(part, 0) + times * (more.get(part, 0) - few.get(part, 0))
        for part in {*few, *more}
    }
