"""Blocks taken as arrays give the figures and the lines that the same ticks give one by one."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.analysis import node_summary, parallel
from monitors.analysis.analysis import analyse_folder
from monitors.analysis.parallel import read_nodes
from monitors.analysis.read import NodeRecord, read_node, read_summary
from monitors.analysis.summary import Stat
from monitors.analysis.timeline import Band, NodeLine
from monitors.records import (
    GpuInfo,
    GpuSample,
    GpuTable,
    HostSample,
    Note,
    OwnCost,
    Record,
    Start,
    Tick,
)
from monitors.report.build import render_html
from monitors.storage.formats import json_lines
from tests.monitors import restless
from tests.monitors.journals import blocks_in, journal_of
from tests.monitors.recorded import GPU_A, GPU_B, MONO, NOON, end, start


def pack(folder: Path, records: list[Record]) -> None:
    """All in the packed file, nothing new in the journal."""
    journal = journal_of(folder, 1 << 30)
    for record in records:
        journal.append(json_lines.line(record))
    journal._compact()
    journal._replace()


def bands(line: NodeLine) -> dict[str, Band]:
    found = {f"host {name}": band for name, band in line.bands.items()}
    for gpu in line.gpus:
        found |= {f"{gpu.info} {name}": band for name, band in gpu.bands.items()}
    return found


def alike(mine: object, theirs: object) -> None:
    """Equal, but for the last digit of what was added up in another order."""
    assert type(mine) is type(theirs)
    for name in (field.name for field in fields(mine)):  # type: ignore[arg-type]  # a dataclass
        one, other = getattr(mine, name), getattr(theirs, name)
        if isinstance(one, Stat):
            assert (one.peak, one.count) == (other.peak, other.count), name
            assert one.mean == pytest.approx(other.mean, abs=0.011), name
        elif isinstance(one, float):
            assert one == pytest.approx(other), name
        elif name != "gpus":
            assert one == other, name


def same(mine: NodeRecord, theirs: NodeRecord) -> None:
    alike(mine.summary, theirs.summary)
    for one, other in zip(mine.summary.gpus, theirs.summary.gpus, strict=True):
        alike(one, other)
    assert (mine.line is None) == (theirs.line is None)
    if mine.line is None or theirs.line is None:
        return
    for name in ("exponent", "first", "cells", "utc_offset_s", "clock_jumps"):
        assert getattr(mine.line, name) == getattr(theirs.line, name)
    found, wanted = bands(mine.line), bands(theirs.line)
    assert set(found) == set(wanted)
    for name in found:
        for part in ("low", "mean", "high"):
            np.testing.assert_allclose(
                getattr(found[name], part), getattr(wanted[name], part), rtol=1e-5, err_msg=name
            )


def one_by_one(folder: Path, patch: pytest.MonkeyPatch) -> NodeRecord:
    with patch.context() as patched:
        patched.setattr(node_summary, "_arrays", lambda _: None)
        return read_node(folder, "n1")


def test_a_restless_day_is_the_same_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[Record] = [start(*restless.infos(0, 3)), *restless.ticks(0, 3, 400)]
    records.insert(300, Note(NOON + 300, "GPU 1: Xid 79"))
    pack(tmp_path, [*records, end(400, 400), start(GPU_A, after=900)])
    assert blocks_in(tmp_path) >= 2
    same(read_node(tmp_path, "n1"), one_by_one(tmp_path, monkeypatch))
    assert read_summary(tmp_path, "n1").samples == 400


values = st.none() | st.integers(0, 500) | st.integers(0, 5000).map(lambda number: number / 10)
counts = st.none() | st.integers(0, 10**12)
hosts = st.builds(
    HostSample, cpu_busy_pct=values, mem_total_mib=values, net_rx_bytes=counts, psi_io_pct=values
)


@st.composite
def stories(draw: st.DrawFn) -> list[Record]:
    """Starts, ticks with holes, silent and exchanged GPUs, clocks that are set."""
    found: list[Record] = []
    moment = 0.0
    for _ in range(draw(st.integers(1, 3))):
        infos = draw(st.sampled_from(((), (GPU_A,), (GPU_A, GPU_B), (replace(GPU_B, index=0),))))
        if draw(st.integers(0, 5)):
            found.append(replace(start(*infos), wall=NOON + moment, mono=MONO + moment))
        number, ahead = 0, 0.0
        for _ in range(draw(st.integers(0, 30))):
            number += draw(st.sampled_from((1, 1, 1, 4)))
            ahead += draw(st.sampled_from((0.0,) * 20 + (-5.0, 3600.0)))
            at = moment + number
            cards = tuple(
                GpuSample(
                    index,
                    power_w=draw(values),
                    sm_pct=draw(values),
                    energy_j=draw(values),
                    throttle=draw(st.none() | st.integers(0, 255)),
                )
                for index in range(draw(st.sampled_from((2, 2, 2, 1))))
            )
            own = OwnCost(number / 100, 20_000 + number) if draw(st.booleans()) else None
            told = cards if draw(st.integers(0, 4)) else None
            wall = round(NOON + at + ahead, 3)
            found.append(Tick(number, wall, round(MONO + at, 3), draw(hosts), told, own))
        if draw(st.booleans()):
            others: tuple[Record, ...] = (end(moment, 3), GpuTable((GpuInfo(0),)))
            found.append(draw(st.sampled_from(others)))
        moment += number + draw(st.integers(1, 100))
    return found


@settings(deadline=None, max_examples=60)
@given(stories())
def test_any_story_is_the_same_both_ways(
    tmp_path_factory: pytest.TempPathFactory, context: list[Record]
) -> None:
    folder = tmp_path_factory.mktemp("context")
    pack(folder, context)
    with pytest.MonkeyPatch.context() as patch:
        same(read_node(folder, "n1"), one_by_one(folder, patch))


def nodes_of(folder: Path, count: int) -> list[str]:
    return [restless.record(folder, number, 2, 120) for number in range(count)]


def test_several_processes_give_what_one_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = nodes_of(tmp_path, 5)
    alone = list(read_nodes(tmp_path, nodes))
    monkeypatch.setattr(parallel, "MUCH_BYTES", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    found = list(read_nodes(tmp_path, nodes))
    assert [record.summary.node for record in found] == nodes
    for mine, theirs in zip(found, alone, strict=True):
        same(mine, theirs)


HERE = os.getpid()


def deadly(folder: Path, node: str, _clock: object = None) -> NodeRecord:
    if os.getpid() != HERE:
        os._exit(9)
    return read_node(folder, node)


def test_a_process_that_is_killed_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = nodes_of(tmp_path, 3)
    monkeypatch.setattr(parallel, "MUCH_BYTES", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(parallel, "read_node", deadly)
    assert [record.summary.node for record in read_nodes(tmp_path, nodes)] == nodes


def test_a_spike_in_a_packed_second_stays_visible(tmp_path: Path) -> None:
    ticks = list(restless.ticks(0, 1, 6000))
    for at, power in ((2500, 999.0), (4500, 1.0)):
        tick = ticks[at]
        assert tick.gpus is not None
        ticks[at] = replace(tick, gpus=(replace(tick.gpus[0], power_w=power),))
    pack(tmp_path, [Start("n1", NOON, MONO, "UTC", 0, 1.0, restless.infos(0, 1)), *ticks])
    found = analyse_folder(tmp_path)
    assert found.timeline is not None
    (gpu,) = found.timeline.nodes[0].gpus
    assert (gpu.bands["power_w"].high.max(), gpu.bands["power_w"].low.min()) == (999.0, 1.0)
    assert found.report.nodes[0].gpus[0].power_w.peak == 999.0
    assert "GPU power" in render_html(found)
