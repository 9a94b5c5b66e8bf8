"""The newest tick of each node: the last whole one, with the start it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.records import GpuSample, GpuTable, HostSample, Note, Record
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from monitors.storage.newest import Newest, newest, newest_of
from tests.monitors.generate import damaged, records
from tests.monitors.recorded import GPU_A, GPU_B, NOON, end, start, tick, write_samples

FULL = GpuSample(0, 312.4, 61, 70, 98, 40, 1, 2, 3, 4, 1593, 1410, 10.5, 20.5, 65_536.0, 4, 1e6)


def test_the_last_tick_and_its_start(tmp_path: Path) -> None:
    first, second = start(GPU_A), start(GPU_A, GPU_B, after=100)
    ticks = [tick(n, FULL, after=100) for n in range(3)]
    write_samples(tmp_path, [first, tick(0), end(2, 1), second, *ticks])
    write_samples(tmp_path, [start(node="n10"), end(1, 0)], "n10")
    found = newest(tmp_path)
    assert [node.node for node in found] == ["n1", "n10"]
    assert (found[0].start, found[0].gpus) == (second, (GPU_A, GPU_B))
    assert (found[0].before, found[0].tick, found[0].end) == (ticks[1], ticks[2], None)
    assert (found[1].tick, found[1].end) == (None, end(1, 0))


def test_a_tick_is_not_compared_with_one_of_another_start(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(), tick(0), start(after=9), tick(0, after=9)])
    assert newest_of(tmp_path, "n1").before is None


def test_gpus_that_turned_up_late_are_listed(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(), tick(0), GpuTable((GPU_B,)), tick(1)])
    assert newest_of(tmp_path, "n1").gpus == (GPU_B,)


@pytest.mark.parametrize("ticks", [3, 700, 12_000])
def test_the_start_is_found_however_long_the_file(tmp_path: Path, ticks: int) -> None:
    host = HostSample(12.5, 0.5, 3.25, 1000.0, 2000.0, 0.0, net_rx_bytes=123456)
    body: list[Record] = [start(GPU_A), GpuTable((GPU_B,))]
    body += [tick(n, FULL, host=host) for n in range(ticks)]
    write_samples(tmp_path, [*body, Note(NOON, "late")])
    found = newest_of(tmp_path, "n1")
    assert (found.start, found.gpus) == (body[0], (GPU_B,))
    assert (found.tick, found.before) == (body[-1], body[-2])
    assert found.notes == (Note(NOON, "late"),)


def test_a_torn_tick_is_not_the_newest(tmp_path: Path) -> None:
    path = write_samples(tmp_path, [start(), tick(0), tick(1), tick(2)])
    path.write_bytes(path.read_bytes()[:-5])
    assert newest_of(tmp_path, "n1").tick == tick(1)


def test_nothing_there_is_nothing(tmp_path: Path) -> None:
    assert newest(tmp_path / "absent") == ()
    assert newest(tmp_path) == ()
    (tmp_path / "n1.samples.jsonl").mkdir()
    (tmp_path / "n2.vmstat.txt").touch()
    assert newest(tmp_path) == (Newest("n1"), Newest("n2"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_gives_what_is_whole(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    whole = "".join(map(json_lines.line, data.draw(st.lists(records, max_size=6)))).encode()
    filenames.path_of(folder, "n1", filenames.SAMPLES).write_bytes(data.draw(damaged(whole)))
    (found,) = newest(folder)
    assert found.node == "n1"
