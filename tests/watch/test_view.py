"""Keys of the screen: order, pages, help; and what a column takes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.text import Text

from hpclaunch.watch import gpu_columns, node_columns, screen
from hpclaunch.watch.columns import Column, fit, least_width
from hpclaunch.watch.gpu_columns import GpuRow
from hpclaunch.watch.sparkline import UNICODE, Glyphs
from hpclaunch.watch.view import KEYS, View
from monitors.records import GpuSample, HostSample, Tick
from monitors.storage.live import NodeNow, Point
from tests.monitors import traces
from tests.watch.test_screen import AT, frame, node


def busy(name: str, sm_pct: float | None, power_w: float = 200) -> NodeNow:
    """A node of one GPU."""
    samples = (GpuSample(0, sm_pct=sm_pct, power_w=power_w),)
    point = Point(Tick(0, AT, 1.0, HostSample(cpu_busy_pct=50.0), samples))
    return NodeNow(name, None, (traces.gpu_info(0, 0),), (point,), 0.5)


NODES = [busy("n1", 90, 300), busy("n2", None, 100), busy("n3", 40, 200), busy("n4", 99, 400)]


def names(view: View) -> list[str]:
    return [each.node for each in view.ordered(NODES)]


def test_nodes_are_sorted_by_each_column_and_back() -> None:
    view = View()
    assert names(view) == ["n1", "n2", "n3", "n4"]
    view = view.press("s", 4, 4)
    assert (view.sorted_by, view.text) == ("gpu %", "by gpu %, lowest first")
    assert names(view) == ["n3", "n1", "n4", "n2"], "an unknown value comes last"
    assert names(view.press("r", 4, 4)) == ["n4", "n1", "n3", "n2"], "in both orders"
    view = view.press("right", 4, 4)
    assert view.text == "by power, highest first"
    assert names(view) == ["n4", "n1", "n3", "n2"]
    assert view.press("left", 4, 4).press("S", 4, 4) == View()
    for _ in node_columns.SORTS:
        view = view.press("s", 4, 4)
    assert view.sorted_by == "gpu %", "after the last column comes none, then the first"


def test_pages_end_where_the_nodes_do() -> None:
    view = View()
    for key, first in (("b", 0), (" ", 10), ("down", 11), ("page down", 15), ("down", 15),
                       ("up", 14), ("page up", 4), ("home", 0)):  # fmt: skip
        view = view.press(key, 10, 25)
        assert view.first == first
    assert View().press("F5", 10, 25) == View()


def text(view: View, nodes: int = 64, cards: int = 8, height: int = 24) -> tuple[list[str], int]:
    shown = frame(*(node(f"n{number}", cards) for number in range(1, nodes + 1)))
    lines, number = screen.page(shown, 80, height, UNICODE, view)
    return [line.plain.rstrip() for line in lines], number


def listed(lines: list[str]) -> list[str]:
    return [match[0] for line in lines if (match := re.match(r"n\d+(?= )", line))]


def test_every_node_is_on_one_page() -> None:
    view, seen = View(), []
    for _ in range(4):
        lines, shown = text(view)
        assert lines[2].startswith("node GPUs"), "with heads over the numbers"
        assert len(listed(lines)) == shown
        first = view.first + 1
        assert lines[-1].endswith(f"nodes {first} to {view.first + shown} of 64")
        seen += listed(lines)
        view = view.press(" ", shown, 64)
    assert set(seen) == {f"n{number}" for number in range(1, 65)}


def test_all_gpus_of_some_nodes_instead_of_some_values_of_all() -> None:
    view = View().press("g", 19, 64)
    lines, shown = text(view)
    assert 0 < shown < 19
    assert lines[2].lstrip().startswith("# gpu %")
    hosts = [line for line in lines if " cpu " in line and "…" not in line]
    assert len(hosts) == shown
    gpus = [found for line in lines for found in re.findall(r"(?:^| )[0-7] +98% ", line)]
    assert len(gpus) == 8 * shown, "no GPU is cut off"
    second, _ = text(view.press("page down", shown, 64))
    assert any(line.startswith(f"n{shown + 1} ") for line in second)


def test_help_lists_every_key() -> None:
    lines, _ = text(View(help=True))
    for keys, explained in KEYS:
        assert any(keys in line and explained in line for line in lines)
    assert View(help=True).press("?", 1, 1) == View()


def test_a_column_is_one_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    def fan(row: GpuRow, width: int, glyphs: Glyphs) -> Text:
        return Text(f"{30 + row.gpu.index}%")

    more = (*gpu_columns.GPU_COLUMNS, Column("fan %", 6, fan, rank=1))
    monkeypatch.setattr("hpclaunch.watch.nodes.GPU_COLUMNS", more)
    lines, _ = text(View(), nodes=1, cards=2)
    (heads,) = (line for line in lines if "gpu %" in line)
    assert heads.endswith(" fan %")
    assert [line[-3:] for line in lines if re.match(r" [01] ", line)] == ["30%", "31%"]


def test_columns_are_left_out_by_rank_and_curves_take_the_rest() -> None:
    def cell(row: int, width: int, glyphs: Glyphs) -> Text:
        return Text(str(row))

    always: Column[int] = Column("always", 6, cell)
    columns = (always, Column("late", 5, cell, rank=2), Column("soon", 5, cell, rank=1),
               Column("curve", 4, cell, curve=True),
               Column("never", 9, cell, known=lambda row: row > 5))  # fmt: skip
    assert least_width(columns, [1]) == 6 + 1 + 4
    wide, narrow, tiny = (fit(columns, [1], width) for width in (40, 17, 3))
    assert [column.head for column in wide.columns] == ["always", "late", "soon", "curve"]
    assert sum(wide.widths) + 3 == 40
    assert [column.head for column in narrow.columns] == ["always", "soon", "curve"]
    assert [column.head for column in tiny.columns] == ["always", "curve"]
    for fitted in (wide, narrow, tiny):
        assert fitted.heads("").cell_len == fitted.row(1, UNICODE).cell_len == fitted.width
    assert "never" in [column.head for column in fit(columns, [1, 6], 40).columns]
    assert fit((replace(always, width=len),), [1, 2, 3], 40).widths == (3,)
