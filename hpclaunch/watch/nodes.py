"""All nodes within the rows there are: from a row for every GPU down to a row for many nodes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from rich.text import Text

from hpclaunch.frozen import frozen
from hpclaunch.watch import rows
from hpclaunch.watch.columns import Fitted, fit, least_width, present
from hpclaunch.watch.figures import gpus
from hpclaunch.watch.gpu_columns import GPU_COLUMNS, GpuRow
from hpclaunch.watch.node_columns import NODE_COLUMNS, name_width
from hpclaunch.watch.sparkline import Glyphs
from hpclaunch.watch.styles import BAD, QUIET
from hpclaunch.watch.view import View
from monitors.storage.live import NodeNow

_GAP = " "
"""Between two GPUs in one row."""


@frozen
class Shown:
    """The rows of a screen, and how many nodes they show."""

    rows: list[Text]
    nodes: int = 0


@frozen
class _Grid:
    """So many GPUs side by side in one row."""

    across: int
    fitted: Fitted[GpuRow]

    def height(self, counts: Sequence[int]) -> int:
        """Return the rows of nodes with so many GPUs each, the heads not counted."""
        return sum(1 + ceil(count / self.across) for count in counts)


def node_rows(
    nodes: Sequence[NodeNow],
    width: int,
    height: int | None,
    glyphs: Glyphs,
    view: View | None = None,
) -> Shown:
    """Return the rows of all nodes, at most `height`; None: as many as there are to be shown."""
    view = view or View()
    if not nodes or (height is not None and height < 1):
        return Shown([])
    nodes = view.ordered(nodes)
    counts = [len(gpus(node)) for node in nodes]
    heads = 1 if any(counts) else 0
    grids = _grids(nodes, width, max(counts))
    for grid in grids:
        if height is None or heads + grid.height(counts) <= height:
            return Shown(_blocks(nodes, grid, width, glyphs), len(nodes))
    if view.all_gpus and grids and height is not None:
        return _gpu_page(nodes, grids[-1], width, height, glyphs, view)
    return _node_table(nodes, width, height, glyphs, view)


def _grids(nodes: Sequence[NodeNow], width: int, most: int) -> list[_Grid]:
    """Return the ways to lay GPUs out within the width, the one that shows most first."""
    lines = [GpuRow(node, gpu) for node in nodes for gpu in gpus(node)]
    if not lines:
        return [_Grid(1, fit(GPU_COLUMNS, lines, width))]
    found: list[_Grid] = []
    # What one GPU of a node offers, the others do too.
    firsts = {line.node.node: line for line in reversed(lines)}
    columns = present(GPU_COLUMNS, list(firsts.values()))
    least = least_width(columns, lines)
    for across in range(1, most + 1):
        each = (width - (across - 1) * len(_GAP)) // across
        if across > 1 and each < least:
            break
        # Only where it saves a row: else GPUs would be made narrower for nothing.
        if not found or ceil(most / across) < ceil(most / found[-1].across):
            found.append(_Grid(across, fit(columns, lines, each)))
    return found


def _blocks(nodes: Sequence[NodeNow], grid: _Grid, width: int, glyphs: Glyphs) -> list[Text]:
    """Return the heads, and under them every node with its GPUs."""
    most = max(len(gpus(node)) for node in nodes)
    name = name_width(nodes)
    heads = [grid.fitted.heads(QUIET)] * min(grid.across, most)
    found = [Text(_GAP).join(heads)] if most else []
    for node in nodes:
        found.append(rows.host_row(node, name, width, glyphs))
        cells = [_gpu_cell(GpuRow(node, gpu), grid.fitted, glyphs) for gpu in gpus(node)]
        for begin in range(0, len(cells), grid.across):
            found.append(Text(_GAP).join(cells[begin : begin + grid.across]))
    return found


def _gpu_cell(row: GpuRow, fitted: Fitted[GpuRow], glyphs: Glyphs) -> Text:
    if row.gpu.sample is not None:
        return fitted.row(row, glyphs)
    cell = Text(f"{row.gpu.index:>2} ").append("does not answer", style=row.style(BAD))
    cell.truncate(fitted.width, overflow="crop", pad=True)
    return cell


def _gpu_page(
    nodes: Sequence[NodeNow], grid: _Grid, width: int, height: int, glyphs: Glyphs, view: View
) -> Shown:
    """Return a page of nodes with all their GPUs, and the others in one row."""
    first = min(view.first, len(nodes) - 1)
    shown: list[NodeNow] = []
    for node in nodes[first:]:
        counts = [len(gpus(each)) for each in [*shown, node]]
        if shown and 2 + grid.height(counts) > height:
            break
        shown.append(node)
    page = _blocks(shown, grid, width, glyphs)[: max(1, height - 1)]
    others = [node for node in nodes if node not in shown]
    return Shown([*page, rows.rest(others, glyphs)] if others else page, len(shown))


def _node_table(
    nodes: Sequence[NodeNow], width: int, height: int | None, glyphs: Glyphs, view: View
) -> Shown:
    """Return a row for each node as far as there is room, and the others in one row."""
    fitted = fit(NODE_COLUMNS, nodes, width)
    # Heads have a row of their own as long as that costs no node its place.
    heads = [fitted.heads(QUIET, view.sorted_by)]
    if height is not None and height < len(nodes) + 1:
        heads = heads if height > 3 else []
        shown = _chosen(nodes, height - len(heads) - 1, view)
    else:
        shown = list(nodes)
    name = fitted.widths[0]
    found = [
        rows.stale_row(node, name) if rows.not_current(node) else fitted.row(node, glyphs)
        for node in shown
    ]
    hidden = [node for node in nodes if node not in shown]
    bottom = [rows.rest(hidden, glyphs)] if hidden else []
    return Shown([*heads, *found, *bottom], len(shown))


def _chosen(nodes: Sequence[NodeNow], count: int, view: View) -> list[NodeNow]:
    """Return a page of nodes. In Slurm's order the silent ones are on the first page."""
    ordered = list(nodes)
    if not view.sort:
        ordered.sort(key=lambda node: not node.silent)  # stable: else as they come
    kept = {node.node for node in ordered[view.first : view.first + max(0, count)]}
    return [node for node in nodes if node.node in kept]
