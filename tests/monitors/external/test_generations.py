"""dmon of every driver and set of options, vmstat of every option: the right figures."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.monitors.external.logs import GENERATIONS, analysis, dmon, node

VALUES = {"pwr": 200, "temp": 66, "gtemp": 66, "mtemp": "-", "sm": 97, "mem": 40, "mclk": 877,
          "pclk": 1530, "pviol": 0, "tviol": 0, "fb": 4096, "rxpci": 120, "txpci": 30}  # fmt: skip
LETTERS = ["".join(some) for n in (1, 2, 3, 7) for some in combinations("pucvmet", n)]


def value(name: str, _gpu: int, _tick: int) -> object:
    return VALUES.get(name, "-")


@settings(max_examples=60, deadline=None)
@given(
    driver=st.sampled_from(list(GENERATIONS)),
    letters=st.sampled_from(LETTERS).flatmap(st.permutations).map("".join),
    options=st.sampled_from(["", "D", "T", "DT"]),
    csv=st.booleans(),
)
def test_every_layout_gives_the_same_figures(
    driver: str, letters: str, options: str, csv: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = dmon(driver, letters, options, 25, value, gpus=2, every=10, csv=csv)
    found = node(tmp_path_factory.mktemp("dmon"), text)
    assert not any("make" in problem for problem in found.problems), found.problems
    for gpu in found.gpus:
        assert gpu.power_w.mean == (200 if "p" in letters else None)
        assert gpu.temperature_c.peak == (66 if "p" in letters else None)
        assert gpu.sm_pct.mean == (97 if "u" in letters else None)
        assert gpu.sm_clock_mhz.mean == (1530 if "c" in letters else None)
        assert gpu.memory_used_mib.peak == (4096 if "m" in letters else None)
        assert gpu.pcie_rx_mb_s.mean == (120 if "t" in letters else None)
    assert (found.duration_s is None) == (options != "DT")


@pytest.mark.parametrize("driver", list(GENERATIONS))
def test_violations_of_every_driver(tmp_path: Path, driver: str) -> None:
    def hot(name: str, gpu: int, t: int) -> object:
        return 1 if name == "tviol" and t > 10 else value(name, gpu, t)

    found = analysis(tmp_path, dmon(driver, "pucv", "DT", 40, hot))
    assert found.findings[0].key == "thermal"


def test_a_wrapped_counter_is_left_out_and_said(tmp_path: Path) -> None:
    def wrapped(name: str, gpu: int, t: int) -> object:
        return 4294967295 if name in ("pwr", "pviol", "rxpci") and t == 5 else value(name, gpu, t)

    found = node(tmp_path, dmon("535", "puvt", "DT", 20, wrapped))
    assert (found.gpus[0].power_w.peak, found.gpus[0].pcie_rx_mb_s.peak) == (200, 120)
    assert any("1 value of pwr is beyond what can be" in problem for problem in found.problems)


def test_double_bit_errors_that_come_while_recorded_are_the_verdict(tmp_path: Path) -> None:
    def broken(name: str, gpu: int, t: int) -> object:
        return 3 if name == "dbecc" and t > 10 else 0 if name == "dbecc" else value(name, gpu, t)

    assert analysis(tmp_path, dmon("470", "pue", "DT", 30, broken)).findings[0].key == "errors"
    old = lambda name, gpu, t: 3 if name == "dbecc" else value(name, gpu, t)  # noqa: E731
    assert analysis(tmp_path, dmon("470", "pue", "DT", 30, old)).findings == ()


def test_a_comment_that_names_a_gpu_is_no_header(tmp_path: Path) -> None:
    text = "# a log of gpu 0\n" + dmon("535", "pu", "DT", 20, value)
    assert node(tmp_path, text).gpus[0].power_w.mean == 200


# vmstat


def vmstat(
    rows: list[list[int]],
    *,
    memory: str = "buff cache",
    stamps: str = "",
    wide: bool = False,
    gu: bool = False,
    block: int = 0,
    y: bool = False,
) -> str:
    """A table with these values of swpd, si, so, us, sy, id, wa."""
    head = "--procs-- ---memory---\n" if wide else "procs ---memory---\n"
    zone = " UTC" if stamps else ""
    cpu = f"us sy id wa st{' gu' * gu}{zone}"
    head += f" r  b   swpd   free {memory}   si   so    bi    bo   in   cs {cpu}\n"
    text = ""
    for number, (swpd, si, so, us, sy, idle, wa) in enumerate(rows):
        if number == 0 or (block and (number + y) % block == 0):
            text += head
        cells = [1, 0, swpd, 2000, 300, 4000, si, so, 0, 0, 9, 9, us, sy, idle, wa, 0]
        stamp = f" 2026-08-16 09:{number // 60:02d}:{number % 60:02d}{stamps}" if stamps else ""
        text += " ".join(map(str, [*cells, *[0] * gu])) + stamp.rstrip("-") + "\n"
    return text


FIRST = [0, 0, 0, 90, 9, 1, 0]
"""The means since boot."""
STEADY = [0, 0, 0, 20, 5, 70, 5]
SINCE = [FIRST, *[STEADY] * 65]


@pytest.mark.parametrize("stamps", ["", "-", " UTC", " -03", " +0530"])
@pytest.mark.parametrize("memory", ["buff cache", "inact active"])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("gu", [True, False])
def test_every_option_of_vmstat(
    tmp_path: Path, stamps: str, memory: str, wide: bool, gu: bool
) -> None:
    text = vmstat([FIRST, *[STEADY] * 30], stamps=stamps, memory=memory, wide=wide, gu=gu)
    found = node(tmp_path, cpu=text)
    assert (found.cpu_busy_pct.mean, found.cpu_busy_pct.peak, found.samples) == (25, 25, 30)
    assert found.cpu_iowait_pct.mean == 5
    assert found.swap_used_mib.mean == 0, "0 is 0 in any unit"
    assert any("since boot" in note for note in found.notes)
    assert not any("unit" in problem for problem in found.problems)


def test_cores_that_are_busy_all_the_time_are_a_finding(tmp_path: Path) -> None:
    text = vmstat([FIRST, *[[0, 0, 0, 90, 10, 0, 0]] * 30])
    assert analysis(tmp_path, cpu=text).verdict == "Nothing stands out.", "one thread"
    found = analysis(tmp_path, cpu=text.replace("\n1 ", "\n12 "))
    assert found.verdict == (
        "All cores of cpu were busy: 12 threads on average ran or waited for one."
    )


def test_cores_that_are_idle_most_of_the_time_are_a_finding(tmp_path: Path) -> None:
    rows = [FIRST, *[[0, 0, 0, 1, 0, 99, 0]] * 80, *[STEADY] * 20]
    assert analysis(tmp_path, cpu=vmstat(rows)).verdict == (
        "The CPUs of cpu were idle 80% of the record."
    )


def test_with_y_there_is_no_such_row_and_the_headers_tell(tmp_path: Path) -> None:
    without = vmstat([STEADY] * 66, block=21, y=True)
    found = node(tmp_path, cpu=without)
    assert (found.samples, found.notes) == (66, ())
    with_it = vmstat(SINCE, block=21)
    assert node(tmp_path, cpu=with_it).cpu_busy_pct.peak == 25


def test_a_second_vmstat_in_the_file_has_one_too(tmp_path: Path) -> None:
    text = vmstat(SINCE[:30], block=21) + vmstat(SINCE[:30], block=21)
    found = node(tmp_path, cpu=text)
    assert (found.cpu_busy_pct.peak, found.samples) == (25, 58)


@pytest.mark.parametrize(
    ("unit", "mib"), [("k", 976.56), ("K", 1000), ("m", 976562.5), ("M", 1024000)]
)
def test_the_unit_is_the_users_word(tmp_path: Path, unit: str, mib: float) -> None:
    rows = [FIRST, *[[1_024_000, 0, 0, 20, 5, 70, 5]] * 20]
    found = node(tmp_path, cpu=vmstat(rows), vmstat_unit=unit)
    assert found.swap_used_mib.mean == pytest.approx(mib, 0.001)


def test_without_a_word_the_unit_is_unknown_and_that_is_said(tmp_path: Path) -> None:
    rows = [FIRST, *[[1_024_000, 5, 0, 20, 5, 70, 5]] * 20]
    found = node(tmp_path, cpu=vmstat(rows))
    assert found.swap_used_mib.mean is None
    assert any("--vmstat-unit" in problem for problem in found.problems)


def test_the_command_line_above_the_table_tells_the_unit(tmp_path: Path) -> None:
    rows = [FIRST, *[[1024, 0, 0, 20, 5, 70, 5]] * 20]
    found = node(tmp_path, cpu="$ vmstat -n -S M 1\n" + vmstat(rows))
    assert found.swap_used_mib.mean == 1024


@pytest.mark.parametrize(
    "wrong", [[0, 0, 0, 9, 1, 101, 3 * 10**9], [0, 0, 0, 2**64 - 1, 0, 100, 0],
              [2**64 - 1, 2**64 - 1, 0, 20, 5, 70, 5]]
)  # fmt: skip
def test_a_counter_that_wrapped_around_is_no_value(tmp_path: Path, wrong: list[int]) -> None:
    rows = [FIRST, *[STEADY] * 10, wrong, *[STEADY] * 10]
    found = node(tmp_path, cpu=vmstat(rows), vmstat_unit="K")
    assert (found.cpu_iowait_pct.peak, found.cpu_busy_pct.peak) == (5, 25)
    assert found.swap_used_mib.peak == 0
    assert any("beyond what can be" in problem for problem in found.problems)
