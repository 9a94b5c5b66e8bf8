"""All nodes within the rows there are: from a line for every GPU down to a line for many nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from rich.text import Text

from hpclaunch.watch import rows
from hpclaunch.watch.figures import Gpu, gpus
from hpclaunch.watch.sparkline import Glyphs
from monitors.storage.live import NodeNow

Cell = Callable[[NodeNow, Gpu, int, Glyphs], Text]


@dataclass(frozen=True)
class _Grid:
    """A way to lay GPUs out under their node."""

    cell: Cell
    columns: int

    def height(self, counts: Sequence[int]) -> int:
        return sum(1 + ceil(count / self.columns) for count in counts)


def node_rows(
    nodes: Sequence[NodeNow], width: int, height: int | None, glyphs: Glyphs
) -> list[Text]:
    """Return the rows of all nodes, at most `height`; None: as many as there are to be shown."""
    if not nodes:
        return []
    name = min(24, max(len(rows.clean(node.node)) for node in nodes))
    if height is not None and height < 1:
        return []
    counts = [len(gpus(node)) for node in nodes]
    for grid in _grids(width, max(counts)):
        if height is None or grid.height(counts) <= height:
            return [row for node in nodes for row in _block(node, grid, name, width, glyphs)]
    if height is None or len(nodes) <= height:
        return [rows.strip(node, name, width, glyphs) for node in nodes]
    shown = _chosen(nodes, height - 1)
    hidden = [node for node in nodes if node not in shown]
    found = [rows.strip(node, name, width, glyphs) for node in shown]
    return [*found, rows.rest(hidden, glyphs)]


def _grids(width: int, most: int) -> list[_Grid]:
    """Return the ways that fit into the width, the one that shows most first."""
    wide = min(max(1, most), max(1, width // rows.WIDE_LEAST))
    found = [_Grid(rows.gpu_cell, columns) for columns in range(1, wide + 1)]
    small = max(1, (width + 1) // (rows.NARROW_LEAST + 1))
    if most > wide and small > wide:
        # As many lines as it takes, and no GPU alone on the last.
        lines = ceil(most / min(small, most))
        found.append(_Grid(rows.small_cell, ceil(most / lines)))
    return found


def _block(node: NodeNow, grid: _Grid, name: int, width: int, glyphs: Glyphs) -> list[Text]:
    block = [rows.host_row(node, name, width, glyphs)]
    cards = gpus(node)
    each = (width - (grid.columns - 1)) // grid.columns
    for begin in range(0, len(cards), grid.columns):
        line = [grid.cell(node, gpu, each, glyphs) for gpu in cards[begin : begin + grid.columns]]
        block.append(Text(" ").join(line))
    return block


def _chosen(nodes: Sequence[NodeNow], count: int) -> list[NodeNow]:
    """Choose whom to show where not all can be: those in trouble before the others."""
    ordered = sorted(nodes, key=lambda node: not node.silent)  # stable: else in natural order
    kept = {node.node for node in ordered[: max(0, count)]}
    return [node for node in nodes if node.node in kept]
