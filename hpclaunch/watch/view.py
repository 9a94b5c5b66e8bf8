"""What the person at the screen has chosen by keys: the order of the nodes, the page, the help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpclaunch.frozen import frozen
from hpclaunch.watch.node_columns import SORTS
from monitors.storage.live import NodeNow

KEYS = (
    ("q, Ctrl-C", "quit; the job goes on"),
    ("?", "show or hide this help"),
    ("s, right arrow", "sort the nodes by the next column"),
    ("S, left arrow", "sort the nodes by the column before"),
    ("r", "reverse the order"),
    ("down, up arrow", "one node on, one node back"),
    ("space, page down", "next page"),
    ("b, page up", "page before"),
    ("home", "first page"),
    ("g", "a row for every GPU, in pages, or what fits one screen"),
)
"""The keys, and what each does."""


@frozen
class View:
    """How the nodes are shown. Every key returns another view."""

    sort: int = 0
    """0: as Slurm lists them; else the number of the column among those that sort, from 1."""
    reverse: bool = False
    first: int = 0
    """Nodes before the first that is shown."""
    all_gpus: bool = False
    """A row for every GPU, although not all nodes fit then."""
    help: bool = False

    def press(self, key: str, shown: int, nodes: int) -> View:
        """Return the view after a key. `shown` nodes of `nodes` are on the screen now."""
        page = max(1, shown)
        moves = {
            "down": 1, "up": -1, " ": page, "page down": page, "b": -page, "page up": -page,
            "home": -self.first,
        }  # fmt: skip
        if key == "?":
            return replace(self, help=not self.help)
        if key in moves:
            last = max(0, nodes - page)
            return replace(self, first=max(0, min(last, self.first + moves[key])))
        if key in {"s", "right", "S", "left"}:
            on = 1 if key in {"s", "right"} else -1
            return replace(self, sort=(self.sort + on) % (len(SORTS) + 1), reverse=False, first=0)
        if key == "r":
            return replace(self, reverse=not self.reverse, first=0)
        if key == "g":
            return replace(self, all_gpus=not self.all_gpus, first=0)
        return self

    @property
    def sorted_by(self) -> str:
        """Return the head of the column that nodes are sorted by; '' where they are not."""
        return SORTS[self.sort - 1].head if self.sort else ""

    @property
    def text(self) -> str:
        """Return the order as text, '' where nodes are as Slurm lists them."""
        if not self.sort:
            return "in reverse order" if self.reverse else ""
        lowest = SORTS[self.sort - 1].lowest_first != self.reverse
        return f"by {self.sorted_by}, {'lowest' if lowest else 'highest'} first"

    def ordered(self, nodes: Sequence[NodeNow]) -> list[NodeNow]:
        """Return the nodes in this order; those without a current value come last."""
        if not self.sort:
            return list(reversed(nodes)) if self.reverse else list(nodes)
        column = SORTS[self.sort - 1]
        assert column.value is not None  # noqa: S101 - those that sort have one
        values = {node.node: column.value(node) if node.current else None for node in nodes}
        known = [node for node in nodes if values[node.node] is not None]
        lowest = column.lowest_first != self.reverse
        known.sort(key=lambda node: values[node.node] or 0.0, reverse=not lowest)
        return known + [node for node in nodes if values[node.node] is None]
