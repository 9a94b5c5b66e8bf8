"""Keeping up with the nodes of a folder: what is new since the last look, and how old it is."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.exports.current import SELDOM, current
from monitors.records import GpuSample, GpuTable, HostSample, Note, Record
from monitors.samples.fields import GPU_FIELDS
from monitors.storage import filenames, live
from monitors.storage.clock_offset import ClockOffsetEstimate
from monitors.storage.formats import json_lines
from monitors.storage.formats.journal_header import JournalHeader
from monitors.storage.journal import Journal
from monitors.storage.live import HISTORY_S, Live, NodeNow
from tests.monitors.generate import damaged, records
from tests.monitors.recorded import GPU_A, GPU_B, NOON, end, start, tick, write_samples
from tests.monitors.running import probe

HOST = HostSample(12.5, net_rx_bytes=5_000_000)


def append(folder: Path, *added: Record, node: str = "n1") -> None:
    with filenames.path_of(folder, node, filenames.SAMPLES).open("a") as stream:
        stream.writelines(map(json_lines.line, added))


def look(of: Live, after: float = 10) -> NodeNow:
    (found,) = of.refresh(NOON + after)
    return found


def numbers(node: NodeNow) -> list[int]:
    return [point.tick.n for point in node.points]


def test_what_is_appended_is_seen_and_nothing_is_read_twice(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(GPU_A), *(tick(n) for n in range(3))])
    kept = Live(tmp_path)
    assert numbers(look(kept)) == [0, 1, 2]
    with patch.object(live, "ending", side_effect=AssertionError("read anew")):
        assert numbers(look(kept)) == [0, 1, 2]
        append(tmp_path, tick(3), GpuTable((GPU_B,)), Note(NOON, "Xid 79"), tick(4))
        found = look(kept)
        assert numbers(found) == [0, 1, 2, 3, 4]
        assert (found.gpus, found.notes) == ((GPU_B,), (Note(NOON, "Xid 79"),))
        append(tmp_path, end(9, 5))
        assert (look(kept).end, look(kept).current) == (end(9, 5), False)
        append(tmp_path, start(GPU_A, after=20), tick(0, after=20))
        assert (numbers(look(kept, 22)), look(kept, 22).end) == ([0], None)


def test_a_line_in_two_pieces_is_one(tmp_path: Path) -> None:
    path = write_samples(tmp_path, [start(), tick(0)])
    kept = Live(tmp_path)
    look(kept)
    line = json_lines.line(tick(1))
    for piece in (line[:20], line[20:]):
        with path.open("a") as stream:
            stream.write(piece)
        found = look(kept)
    assert numbers(found) == [0, 1]


def test_packing_beside_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The journal that is really written, begun anew again and again while it is followed."""
    journal = Journal(tmp_path, "n1", most=20_000)
    journal.append(json_lines.line(start(GPU_A)))
    kept = Live(tmp_path)
    path = filenames.path_of(tmp_path, "n1", filenames.SAMPLES)
    files, seen = [b""], []
    for number in range(1500):
        journal.append(json_lines.line(tick(number)))
        journal.maybe_compact()
        if number % 7 == 0:
            first, _, _ = path.read_bytes().partition(b"\n")
            files += [first] if first != files[-1] else []
            newest = look(kept, number).newest
            assert newest is not None
            seen.append(newest.tick.n)
            assert numbers(look(kept, number))[-1] == number
    journal.close()
    shown = numbers(look(kept, 1500))
    assert len(files) > 3, "it was begun anew while it was looked at"
    assert seen == list(range(0, 1500, 7))
    assert shown == list(range(shown[0], 1500))


def test_a_file_that_is_begun_anew_goes_on(tmp_path: Path) -> None:
    """A recorder that packs old samples away leaves the last lines in a new file."""
    path = write_samples(tmp_path, [start(GPU_A), *(tick(n) for n in range(20))])
    kept = Live(tmp_path)
    look(kept)
    aside = tmp_path / "aside"
    lines: list[Record] = [start(GPU_A), *(tick(n) for n in range(15, 22))]
    aside.write_text('{"kind":"journal","format":1}\n' + "".join(map(json_lines.line, lines)))
    aside.replace(path)
    assert numbers(look(kept)) == list(range(22))
    append(tmp_path, tick(22))
    assert numbers(look(kept)) == list(range(23))


def test_a_file_begun_anew_under_the_same_inode(tmp_path: Path) -> None:
    """A viewer that slept through two packings may find the old number on another file."""
    path = write_samples(tmp_path, [start(GPU_A), *(tick(n) for n in range(20))])
    path.write_bytes(JournalHeader(0, 0).line() + path.read_bytes())
    kept = Live(tmp_path)
    look(kept)
    lines: list[Record] = [start(GPU_A), *(tick(n) for n in range(300, 350))]
    path.write_bytes(JournalHeader(9000, 1).line() + "".join(map(json_lines.line, lines)).encode())
    assert numbers(look(kept))[-50:] == list(range(300, 350))


@pytest.mark.parametrize("left", [b"", b"\0" * 500, b'{"kind":"tick"'])
def test_a_file_that_was_cut_or_overwritten(tmp_path: Path, left: bytes) -> None:
    path = write_samples(tmp_path, [start(), *(tick(n) for n in range(9))])
    kept = Live(tmp_path)
    look(kept)
    path.write_bytes(left)
    assert look(kept).points == ()
    append(tmp_path, Note(NOON, "x"), start(after=9), tick(0, after=9))
    assert numbers(look(kept)) == [0]


def test_what_was_known_stays_where_the_file_goes_away(tmp_path: Path) -> None:
    path = write_samples(tmp_path, [start(), tick(0)])
    write_samples(tmp_path, [start(node="n10")], "n10")
    kept = Live(tmp_path)
    assert [node.node for node in kept.refresh(NOON)] == ["n1", "n10"]
    (tmp_path / "n1.vmstat.txt").touch()
    path.unlink()
    first, _ = kept.refresh(NOON + 100)
    assert (numbers(first), first.silent) == ([0], True)
    assert Live(tmp_path / "absent").refresh(NOON) == ()


def test_rates_are_those_between_two_ticks(tmp_path: Path) -> None:
    hosts = (5_000_000, 25_000_000, 3_000_000, None, 9_000_000)
    ticks = [tick(n, host=HostSample(net_rx_bytes=value)) for n, value in enumerate(hosts)]
    write_samples(tmp_path, [start(), *ticks])
    rates = [point.net_rx_mb_s for point in look(Live(tmp_path)).points]
    assert rates == [None, 20.0, None, None, None], "a counter begun anew tells nothing"


def test_only_the_last_minutes_are_kept(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(), tick(0)])
    kept = Live(tmp_path)
    look(kept)
    append(tmp_path, *(tick(n) for n in range(1, 900)))
    assert len(look(kept).points) == HISTORY_S + 1


def test_the_age_is_right_whatever_the_nodes_clock_says() -> None:
    for off in (-3600.0, -2.0, 0.0, 2.0, 3600.0):  # by how much the node's clock is behind
        lag = ClockOffsetEstimate()
        for second in range(1, 6):
            shown = lag.age(second - 0.5 - off, float(second), new=True)
        assert abs(shown - 0.5) <= 1, off
        assert abs(lag.age(4.5 - off, 65.0, new=False) - 60.5) <= 1, off


def test_a_clock_that_is_set_is_learnt_again() -> None:
    lag = ClockOffsetEstimate()
    for second in range(1, 5):
        lag.age(float(second), second + 0.1, new=True)
    assert lag.age(4000.0, 5.1, new=True) == 0
    assert lag.age(4000.0, 25.1, new=False) == pytest.approx(20, abs=1.5)


def test_ages_at_first_sight(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(), tick(0)])
    for after, silent in ((1, False), (8, False), (60, True), (-500, False)):
        found = look(Live(tmp_path), after)
        assert (found.silent, found.current) == (silent, not silent)


def test_energy_is_the_one_last_asked_for(tmp_path: Path) -> None:
    asked, since = GpuSample(0, power_w=300, energy_j=5e6), GpuSample(0, power_w=310)
    write_samples(tmp_path, [start(GPU_A), tick(0, asked), tick(1, since)])
    text = "".join(current(Live(tmp_path).refresh(NOON + 3)))
    assert 'job_gpu_energy_joules_total{node="n1",gpu="0",uuid="GPU-aaaa"} 5000000.0\n' in text
    assert 'job_gpu_power_watts{node="n1",gpu="0",uuid="GPU-aaaa"} 310\n' in text


def test_what_is_asked_now_and_then_is_served_as_last_told(tmp_path: Path) -> None:
    told = GpuSample(0, power_w=300, xid_errors=2, tensor_active_pct=40, sm_pct=9)
    newer = GpuSample(0, power_w=310, tensor_active_pct=50)
    ticks = [tick(0, told), tick(5, newer), *(tick(n, GpuSample(0, power_w=1)) for n in (6, 7))]
    write_samples(tmp_path, [start(GPU_A), *ticks])
    text = "".join(current(Live(tmp_path).refresh(NOON + 9)))
    where = '{node="n1",gpu="0",uuid="GPU-aaaa"}'
    assert f"job_gpu_xid_errors_total{where} 2\n" in text
    assert f"job_gpu_tensor_active_ratio{where} 0.5\n" in text
    assert "job_gpu_sm_ratio" not in text, "what every tick has, and the newest has not, is unknown"


def test_of_a_lost_gpu_nothing_is_served(tmp_path: Path) -> None:
    ticks = [tick(0, GpuSample(0, power_w=300, tensor_active_pct=40)), tick(1, GpuSample(0))]
    write_samples(tmp_path, [start(GPU_A), *ticks])
    assert "tensor" not in "".join(current(Live(tmp_path).refresh(NOON + 3)))


def test_the_values_that_are_looked_back_for_are_those_a_sidecar_leaves_out(
    tmp_path: Path, fake_nvml: Path
) -> None:
    found = probe(fake_nvml, ticks=12, pause_s=0.1, FAKE_NVML_PIDS="0:4000001:1000")
    ever, always = set[str](), set(GPU_FIELDS)
    for sampled in found.ticks[1:]:
        has = {name for name in GPU_FIELDS if getattr(sampled[0], name) is not None}
        ever, always = ever | has, always & has
    first = {name for name in GPU_FIELDS if getattr(found.ticks[0][0], name) is not None}
    assert (ever | first) - always <= set(SELDOM)
    assert not always & set(SELDOM)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_damage_ends_in_a_page_that_parses(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    folder = tmp_path_factory.mktemp("damaged")
    path = filenames.path_of(folder, "n1", filenames.SAMPLES)
    kept = Live(folder)
    for _ in range(2):
        whole = "".join(map(json_lines.line, data.draw(st.lists(records, max_size=6)))).encode()
        with path.open("ab") as stream:
            stream.write(data.draw(damaged(whole)))
        found = kept.refresh(NOON)
        list(parser.text_string_to_metric_families("".join([*current(found), "# EOF\n"])))
        if data.draw(st.booleans()):
            os.truncate(path, path.stat().st_size // 2)
