"""Frames of every kind fit every screen, and say what they leave out."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpclaunch.diagnose.progress import Progress
from hpclaunch.watch import plain, screen
from hpclaunch.watch.frame import Frame
from hpclaunch.watch.sparkline import ASCII, UNICODE, bar, buckets, curve, spark
from hpclaunch.watch.trouble import trouble
from hpclaunch.watch.view import View
from monitors.records import End, GpuSample, HostSample, Note, OwnCost, Start, Tick
from monitors.storage.live import NodeNow, Point
from tests.monitors import traces
from tests.monitors.generate import gpus, hosts, infos

AT = 1_790_000_000.0
PRESSED = ("?", "s", "S", "r", "g", "up", "down", " ", "b", "home", "x")


def node(name: str = "n1", cards: int = 8, seconds: int = 30, **how: Any) -> NodeNow:
    table = tuple(traces.gpu_info(0, index) for index in range(cards))
    points = tuple(
        Point(Tick(n, AT + n, 100.0 + n, HostSample(50.0), tuple(
            GpuSample(index, power_w=200, sm_pct=98, memory_used_mib=1024) for index in range(cards)
        ) or None)) for n in range(seconds)
    )  # fmt: skip
    begin = Start(name, AT, 100.0, "UTC", 0, 1.0, table)
    return NodeNow(name, begin, table, points, **({"age_s": 0.5} | how))


def frame(*nodes: NodeNow, **how: Any) -> Frame:
    values: dict[str, Any] = {"at": AT, "name": "one", "state": "running", "nodes": nodes}
    return Frame(**(values | how))


def text(shown: Frame, width: int = 80, height: int | None = 24) -> list[str]:
    if height is None:
        return [line.plain for line in screen.lines(shown, width, None, UNICODE)]
    return [line.plain for line in screen.page(shown, width, height, UNICODE, View())[0]]


def test_unknown_is_said_and_never_zero() -> None:
    bare = Point(Tick(0, AT, 1.0, HostSample(), (GpuSample(0, enc_pct=3),)))
    shown = "\n".join(text(frame(NodeNow("n1", None, (), (bare,), 0.1))))
    assert re.search(r"^ 0 +- +- +- +- +- +-$", shown, re.M)
    assert "memory -/- GiB" in shown
    assert "0%" not in shown
    assert "unknown left" in "\n".join(text(frame(progress=Progress(step=3))))


def test_tensor_cores_and_nvlink_are_shown_where_there_is_room() -> None:
    """Both are asked for only now and then: the last known counts."""
    (found,) = [node(cards=1)]
    sample = GpuSample(0, sm_pct=98, tensor_active_pct=41, nvlink_rx_mb_s=900, nvlink_tx_mb_s=300)
    points = list(found.points)
    points[-4] = Point(replace(points[-4].tick, gpus=(sample,)))
    shown = frame(NodeNow(found.node, found.start, found.gpus, tuple(points), 0.5))
    wide = "\n".join(text(shown, 120))
    assert "tensor %   NVLink" in wide
    assert "41% 1.2 GB/s" in wide
    assert "tensor" not in "\n".join(text(shown, 60))
    assert all(len(line) <= 120 for line in text(shown, 120))
    assert "tensor" not in "\n".join(text(frame(found), 120))


def test_gpus_that_do_not_answer() -> None:
    (found,) = [node(cards=2)]
    last = found.points[-1].tick
    assert last.gpus is not None
    dead = Point(Tick(last.n + 1, last.wall, last.mono + 1, last.host, None))
    lost = NodeNow(found.node, found.start, found.gpus, (*found.points, dead), 0.5)
    assert "\n".join(text(frame(lost))).count("does not answer") == 2
    assert trouble(frame(lost)) == ("n1: its GPUs do not answer",)
    one = Point(
        Tick(last.n + 1, last.wall, last.mono + 1, last.host, (*last.gpus[:1], GpuSample(1)))
    )
    half = NodeNow(found.node, found.start, found.gpus, (*found.points, one), 0.5)
    assert "\n".join(text(frame(half))).count("does not answer") == 1
    assert trouble(frame(half)) == ("n1: GPU 1 does not answer",)


def test_how_many_nodes_are_left_out_is_said_and_the_silent_are_not_among_them() -> None:
    many = [node(f"n{number}") for number in range(1, 64)]
    many.append(node("n64", age_s=99.0))
    shown = text(frame(*many))
    assert len(shown) == 24
    assert shown[-2].startswith("… 45 more nodes: gpu 98%, lowest 98% (")
    assert any(line.startswith("n64  no samples for 1 min 39 s") for line in shown)
    assert sum(bool(re.match(r"n\d", line)) for line in shown) == 19


@pytest.mark.parametrize(
    ("nodes", "cards", "width", "height", "rows"),
    [
        # With a row of heads, where there are GPUs.
        (1, 8, 80, 24, 10),  # a GPU in each row
        (4, 4, 80, 24, 21),
        (5, 4, 80, 24, 16),  # two GPUs
        (2, 16, 80, 24, 19),
        (2, 16, 80, 20, 15),  # three GPUs
        (16, 8, 200, 50, 33),  # eight GPUs
        (16, 8, 80, 24, 17),  # a node in each row
        (3, 0, 80, 24, 3),
    ],
)
def test_the_screen_is_used(nodes: int, cards: int, width: int, height: int, rows: int) -> None:
    shown = text(frame(*(node(f"n{n}", cards) for n in range(nodes))), width, height)
    top = 2 if cards and nodes > 1 else 1
    assert len([line for line in shown[top:-1] if line]) == rows


def test_what_is_wrong_is_told() -> None:
    full = HostSample(psi_io_pct=40.0, cgroup_mem_mib=99.0, cgroup_limit_mib=100.0, oom_kills=2)
    pressed = NodeNow("n1", points=(Point(Tick(0, AT, 1.0, full)),), age_s=1.0)
    ended = node("n2", end=End(AT, "SIGTERM", 1, 0, OwnCost()), age_s=100.0)
    shown = frame(pressed, ended, absent=("n3",), started=AT - 100)
    assert trouble(shown) == (
        "no samples yet from n3",
        "n1: the kernel killed 2 processes of the job for memory (OOM)",
        "n1: memory is 99% full",
    )
    lines = "\n".join(text(shown))
    assert "I/O pressure 40%" in lines
    assert "n2 sampling ended 1 min 40 s ago (SIGTERM)" in lines
    assert "no samples yet from n3" in lines


def test_gpus_that_are_not_sampled_matter_where_there_are_to_be_some() -> None:
    begin = Start("n1", AT, 1.0, "UTC", 0, 1.0, (), "NVML: Driver Not Loaded")
    note = Note(AT, "no GPU is sampled: late"), Note(AT, "Xid 79 on GPU 3"), Note(AT - 700, "old")
    bare = NodeNow(
        "n1", begin, points=(Point(Tick(0, AT, 1.0, HostSample())),), age_s=1, notes=note
    )
    assert trouble(frame(bare)) == ("n1: Xid 79 on GPU 3",)
    assert trouble(frame(bare, on_gpus=True))[0] == "n1: no GPU is sampled: NVML: Driver Not Loaded"


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_values_fit_any_screen(data: st.DataObject) -> None:
    ticks = st.builds(
        Tick, st.integers(0, 9), st.floats(1, 1e18), st.floats(0, 1e18), hosts,
        st.none() | st.lists(gpus, max_size=9).map(tuple),
    )  # fmt: skip
    rates = st.none() | st.floats(0, 1e18)
    points = st.lists(st.builds(Point, ticks, rates, rates), max_size=4).map(tuple)
    nodes = st.builds(
        NodeNow, st.text(max_size=40), gpus=st.lists(infos, max_size=9).map(tuple), points=points,
        age_s=st.just(5.0) | st.just(1e9),
    )  # fmt: skip
    shown = frame(
        *data.draw(st.lists(nodes, max_size=7)),
        why=data.draw(st.text()),
        progress=Progress(
            step=data.draw(st.integers(0, 10**18)), total=data.draw(st.sampled_from((0, 5, None))),
            loss=data.draw(st.floats(-1e18, 1e18)),
        ),
        losses=tuple(data.draw(st.lists(st.floats(-1e18, 1e18), max_size=50))),
    )  # fmt: skip
    width, height = data.draw(st.integers(1, 220)), data.draw(st.integers(1, 60))
    for signs in (UNICODE, ASCII):
        view = View()
        for key in data.draw(st.lists(st.sampled_from(PRESSED), max_size=5)):
            view = view.press(key, 3, len(shown.nodes))
        lines, _ = screen.page(shown, width, height, signs, view)
        assert len(lines) <= height
        assert all(line.cell_len <= width for line in lines)
        assert all(line.plain.isprintable() for line in lines)
    assert plain.line(shown).isprintable()
    assert plain.to_dict(shown)["nodes"] is not None
    trouble(shown)


def test_curves() -> None:
    assert spark([0, 50, None, 100, 200, -5], 0, 100, UNICODE) == "▁▅ ██▁"
    assert spark([5, 5], 5, 5, UNICODE) == "▁▁"
    assert curve([1.0], 10, UNICODE) == ""
    assert len(curve([float(n) for n in range(100)], 10, UNICODE)) == 10
    assert bar(0.5, 4, ASCII) == "##.."
    points = node(seconds=60).points
    assert buckets(points, lambda p: p.tick.mono, 3, 60) == [109.5, 129.5, 149.5]
    assert buckets((), lambda _: 1.0, 3, 60) == [None] * 3
