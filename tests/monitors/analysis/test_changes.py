"""Values that changed within the run are told with the moment, not as a mean that never was."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.analysis.analysis import JobContext, analyse_folder
from monitors.analysis.levels import level_change
from monitors.report.build import render_html
from monitors.report.text import render_text
from tests.monitors import traces
from tests.monitors.external.logs import analysis, query
from tests.monitors.external.test_query_gpu import rows
from tests.monitors.judging import in_training, job, only
from tests.monitors.recorded import NOON
from tests.monitors.traces import Values

AT = 240
"""Second of the change."""


def moment(second: float) -> str:
    return datetime.fromtimestamp(NOON + second, UTC).strftime("%H:%M:%S")


def near(text: str, second: float) -> bool:
    """Whether a text names a moment within a few seconds of one."""
    return any(moment(second + off) in text for off in range(-6, 7))


def half_clock(_n: str, _i: int, t: int) -> Values:
    return {"sm_clock_mhz": 705 if t >= AT else 1403}


def test_half_the_clock_of_all_gpus(tmp_path: Path) -> None:
    found = job(tmp_path, in_training(half_clock), nodes=1, gpus=2)
    finding = only(found)
    assert finding.key == "clock"
    (node,) = found.report.nodes
    change = f"GPU 0, 1: SM clock 705 MHz since {moment(AT)}, else 1,403 MHz"
    assert node.changes == (change,)
    assert f"changed    {change}"[:70] in render_text(found.report)
    assert change in render_html(found)
    assert f"at half the clock since {moment(AT)}" in found.verdict
    assert "705 of 1,403 MHz" in found.verdict
    assert finding.lost_share == pytest.approx(0.5 * (395 - AT) / 350, abs=0.03)


def test_half_the_clock_of_one_gpu_holds_the_others_back(tmp_path: Path) -> None:
    one = lambda n, i, t: half_clock(n, i, t) if (n, i) == ("n2", 1) else {}  # noqa: E731
    finding = only(job(tmp_path, in_training(one), gpus=2))
    assert finding.key == "slow-peer"
    assert finding.headline == (
        f"n2 GPU 1 held the job back: since {moment(AT)} half the clock: 705 of 1,403 MHz."
    )
    assert f"705 MHz since {moment(AT)}, else 1,403 MHz" in finding.evidence


def test_a_while_at_half_the_clock(tmp_path: Path) -> None:
    dip = lambda n, i, t: half_clock(n, i, AT if 150 <= t < 210 else 0)  # noqa: E731
    finding = only(job(tmp_path, in_training(dip), nodes=1, gpus=1))
    assert f"from {moment(150)}" in finding.headline
    assert near(finding.headline.partition(" to ")[2], 210)


def test_a_low_clock_at_first(tmp_path: Path) -> None:
    late = lambda n, i, t: half_clock(n, i, AT if t < 160 else 0)  # noqa: E731
    finding = only(job(tmp_path, in_training(late), nodes=1, gpus=1))
    assert f"at half the clock until {moment(160)}" in finding.headline


def test_heat_tells_the_moment_too(tmp_path: Path) -> None:
    def hot(n: str, i: int, t: int) -> Values:
        return {**half_clock(n, i, t), "throttle": 0x20 if t >= AT else 0}

    finding = only(job(tmp_path, in_training(hot), nodes=1, gpus=1))
    assert finding.key == "thermal"
    assert f"705 MHz since {moment(AT)}" in finding.evidence


def test_clocks_of_idle_gpus_are_no_finding(tmp_path: Path) -> None:
    def lazy(_n: str, _i: int, t: int) -> Values:
        return {"sm_clock_mhz": 210, "sm_pct": 3, "power_w": 60.0} if t >= AT else {}

    found = job(tmp_path, in_training(lazy), nodes=1, gpus=1)
    finding = only(found)
    assert finding.key == "less-used"
    assert "utilization 3%, else 9" in finding.headline
    assert near(finding.headline, AT)


def test_the_memorys_clock(tmp_path: Path) -> None:
    slow = lambda _n, _i, t: {"memory_clock_mhz": 405 if t >= AT else 1593}  # noqa: E731
    finding = only(job(tmp_path, in_training(slow), nodes=1, gpus=1))
    assert "memory clock since" in finding.headline
    assert finding.columns[0] == "memory_clock_mhz"


def test_one_gpu_of_many_with_less_to_do(tmp_path: Path) -> None:
    lazy = lambda n, i, t: {"sm_pct": 30} if i == 1 and t >= AT else {}  # noqa: E731
    finding = only(job(tmp_path, in_training(lazy), nodes=1, gpus=2))
    assert finding.headline.startswith(f"n1 GPU 1 had much less to do since {moment(AT)}")
    assert finding.lost_share == pytest.approx(0.7 * 0.45 / 2, abs=0.03)


def test_gpus_that_spin_to_the_end_may_hang(tmp_path: Path) -> None:
    spin = lambda _n, _i, t: {"power_w": 120.0} if t >= AT else {}  # noqa: E731
    found = job(tmp_path, in_training(spin), nodes=1, gpus=2)
    assert found.verdict.startswith(
        f"The GPUs spun at low power all the time since {moment(AT)}, 4"
    )
    assert "may have hung" in found.verdict


def test_steps_that_take_longer_from_some_moment_on(tmp_path: Path) -> None:
    traces.record(tmp_path, nodes=1, gpus=1, seconds=400)
    events, at = [], NOON + 40
    for number in range(1, 60):
        seconds = 4.0 if number <= 40 else 8.0
        at += seconds
        events.append({"time": at, "event": "step", "step": number, "seconds": seconds})
    found = analyse_folder(tmp_path, JobContext(events=tuple(events)))
    finding = only(found)
    assert found.verdict.startswith(f"Steps took 2.0 times as long since {moment(200)}")
    assert "8.00 s, else 4.00 s" in found.verdict
    assert "(step 41)" in found.verdict
    assert finding.lost_share == pytest.approx(19 * 4 / (40 * 4 + 19 * 8), abs=0.01)


def test_steps_with_more_tokens_may_take_longer(tmp_path: Path) -> None:
    traces.record(tmp_path, nodes=1, gpus=1, seconds=400)
    events, at = [], NOON + 40
    for number in range(1, 60):
        seconds = 4.0 if number <= 40 else 8.0
        at += seconds
        events.append({"time": at, "event": "step", "seconds": seconds, "tokens": 100 * seconds})
    assert analyse_folder(tmp_path, JobContext(events=tuple(events))).findings == ()


def test_gpus_idle_for_most_of_the_record(tmp_path: Path) -> None:
    """Nothing but a little work at the end: the training alone looks well."""
    idle = lambda _n, _i, t: {"sm_pct": 0, "power_w": 60.0} if t < 300 else {}  # noqa: E731
    traces.record(tmp_path, nodes=1, gpus=1, seconds=400, gpu=idle)
    found = analyse_folder(tmp_path)
    assert found.verdict == "The GPUs were idle 75% of the record."
    assert near(found.findings[0].evidence, 300)


def test_gpus_idle_all_the_time(tmp_path: Path) -> None:
    traces.record(tmp_path, seconds=100, gpu=lambda _n, _i, _t: {"sm_pct": 0, "power_w": 60.0})
    assert analyse_folder(tmp_path).verdict == "The GPUs were idle 100% of the record."


def test_a_log_without_a_date_tells_the_time_since_its_begin(tmp_path: Path) -> None:
    text = "# gpu    sm  pclk\n# Idx     %   MHz\n"
    text += "    0    97  1400\n" * 200 + "    0    97   700\n" * 100
    assert "3 min 18 s" in analysis(tmp_path, text).verdict


def test_another_tools_log(tmp_path: Path) -> None:
    text = query(
        ["timestamp", "index", "utilization.gpu [%]", "clocks.current.sm [MHz]"],
        [(at, str(g), "97", "705" if t > 400 else "1403") for at, g, t in rows(600, 2)],
    )
    assert "at half the clock since 11:33:4" in analysis(tmp_path, text).verdict


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(100, 700),
    at=st.floats(0.1, 0.9),
    levels=st.tuples(st.integers(100, 2000), st.integers(100, 2000)),
    noise=st.floats(0, 0.05),
)
def test_one_change_is_found_where_it_is(
    length: int, at: float, levels: tuple[int, int], noise: float
) -> None:
    where = round(length * at)
    dice = np.random.default_rng(1)
    values = np.where(np.arange(length) < where, *map(float, levels))
    values = values * (1 + noise * dice.uniform(-1, 1, length))
    moments = np.arange(1.0, length + 1)
    change = level_change(moments, values, 0.2)
    apart = abs(levels[0] - levels[1]) / max(levels)
    if change is None:
        assert apart < 0.3
    else:
        assert change.end is None
        assert change.begin == pytest.approx(where, abs=1)
        assert (change.before, change.level) == pytest.approx(levels, rel=0.05)
        assert apart > 0.1


@given(st.lists(st.floats(0, 100) | st.just(float("nan")), max_size=200))
def test_whatever_the_values_it_is_a_change_or_none(values: list[float]) -> None:
    change = level_change(np.arange(len(values), dtype=float), np.array(values), 0.2)
    assert change is None or 0 < change.share < 1


@pytest.mark.parametrize("every", [5.0, 60.0])
@pytest.mark.parametrize("ended", [False, True])
def test_no_moment_lies_outside_the_record(tmp_path: Path, every: float, ended: bool) -> None:
    """Cells of the axis begin before the first sample and end after the last."""
    ticks = [(at, t) for at, _, t in rows(61, 1, every)]
    text = query(
        ["timestamp", "index", "utilization.gpu [%]"],
        [(at, "0", "97" if (t < 15, t > 45)[ended] else "0") for at, t in ticks],
    )
    found = analysis(tmp_path, text)
    (finding,) = (each for each in found.findings if each.key == "idle-record")
    first, last = (at.split()[1].split(".")[0] for at in (ticks[0][0], ticks[-1][0]))
    cut = 8 if every < 60 else 5  # seconds are named where the record is short
    named = re.findall(r"\d\d:\d\d(?::\d\d)?", finding.evidence)
    assert len(named) == 2
    assert all(first[:cut] <= each <= last[:cut] for each in named)
    assert ended or named[0] == first[:cut]
    assert f"of {every:.0f} min; work" in finding.evidence
