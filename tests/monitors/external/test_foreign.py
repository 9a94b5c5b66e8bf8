"""Reports on what `nvidia-smi dmon` and `vmstat` wrote: any version, damaged, or the wrong file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.analysis.analysis import Analysis, analyse_files
from monitors.report.build import render_html
from monitors.report.text import render_text
from tests.monitors.generate import damaged
from tests.monitors.running import ROOT

DMON = (
    "#Date        Time         gpu    pwr  gtemp  mtemp     sm    mem    enc    dec    jpg    ofa"
    "   mclk   pclk  rxpci  txpci \n"
    "#YYYYMMDD    HH:MM:SS     Idx      W      C      C      %      %      %      %      %      %"
    "    MHz    MHz   MB/s   MB/s \n"
)
OLD = (
    "#Date       Time        gpu   pwr gtemp mtemp    sm   mem   enc   dec  mclk  pclk\n"
    "#YYYYMMDD   HH:MM:SS    Idx     W     C     C     %     %     %     %   MHz   MHz\n"
)
BARE = "# gpu    pwr  gtemp     sm     fb\n# Idx      W      C      %     MB\n"
VMSTAT = (
    "procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu----- -----time"
    "stamp-----\n r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st"
    "                 UTC\n"
)
UNTIMED = (
    "procs -----------memory---------- ---swap-- -----io---- -system-- -------cpu-------\n"
    " r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st gu\n"
)
WIDE = (
    "--procs-- -----------------------memory---------------------- ---swap-- -----io---- -system--"
    " ----------cpu---------- -----timestamp-----\n"
    "   r    b         swpd         free         buff        cache   si   so    bi    bo   in   cs"
    "  us  sy  id  wa  st  gu                 CET\n"
)


def clock(n: int) -> str:
    return f"09:{n // 60:02d}:{n % 60:02d}"


def dmon(n: int, gpu: int = 0, sm: int = 98, power: int = 350) -> str:
    return (
        f" 20260816    {clock(n)}       {gpu}    {power}     61      -     {sm}     40      0"
        "      0      0      0   1593   1410     10     20 \n"
    )


def old(n: int) -> str:
    return f" 20260816   {clock(n)}     0   350    61     -    98    40     0     0  1593  1410\n"


def vmstat(n: int) -> str:
    return (
        f" 1  0      0 24393452    512 168160    0    0     8  6480   78  124 20  5 70  5  0"
        f" 2026-08-16 {clock(n)}\n"
    )


def untimed(n: int) -> str:
    return " 1  0      0 24393452    512 168160    0    0     8  6480   78  124 20  5 70  5  0  0\n"


def wide(n: int) -> str:
    return (
        "   1    0            0     24393452          512       168160    0    0     8  6480   78"
        f"  124  20   5  70   5   0   0 2026-08-16 {clock(n)}\n"
    )


def files(folder: Path, gpu: str | None = None, cpu: str | None = None) -> Analysis:
    folder.mkdir(exist_ok=True)
    paths: list[list[Path]] = []
    for name, text in (("dmon.txt", gpu), ("cpu.txt", cpu)):
        if text is not None:
            (folder / name).write_text(text)
        paths.append([] if text is None else [folder / name])
    return analyse_files(paths[0], paths[1])


def series(found: Analysis, value: str, gpu: int | None = None) -> np.ndarray:
    assert found.timeline
    (node,) = found.timeline.nodes
    return (node.bands if gpu is None else node.gpus[gpu].bands)[value].mean


def test_both_tables_are_one_node_on_one_axis(tmp_path: Path) -> None:
    gpu = DMON + "".join(dmon(n, gpu) for n in range(60) for gpu in (0, 1))
    found = files(tmp_path, gpu, VMSTAT + "".join(map(vmstat, range(60))))
    (node,) = found.report.nodes
    assert (node.node, len(node.gpus), node.problems) == ("dmon", 2, ())
    assert found.timeline and found.timeline.cells in (30, 31), "two seconds a cell"
    assert set(series(found, "sm_pct", 1)) == {98}
    busy = series(found, "cpu_busy_pct")
    assert set(busy[np.isfinite(busy)]) == {25}
    assert found.verdict == "Nothing stands out."


def test_findings_are_found_in_them_too(tmp_path: Path) -> None:
    gpu = DMON + "".join(dmon(n, gpu, sm=0 if gpu else 98) for n in range(60) for gpu in (0, 1))
    assert files(tmp_path, gpu).verdict == "dmon GPU 1 did nothing: 1 of 2 GPUs."


@pytest.mark.parametrize("gpu", [OLD + "".join(map(old, range(30)))])
@pytest.mark.parametrize("cpu", [WIDE + "".join(map(wide, range(30)))])
def test_other_versions(tmp_path: Path, gpu: str, cpu: str) -> None:
    found = files(tmp_path, gpu, cpu)
    (node,) = found.report.nodes
    assert (node.problems, node.gpus[0].sm_pct.mean, node.cpu_busy_pct.mean) == ((), 98, 25)
    assert node.gpus[0].pcie_rx_mb_s.mean is None


def test_versions_mixed_in_one_file(tmp_path: Path) -> None:
    gpu = OLD + "".join(map(old, range(20))) + DMON + "".join(dmon(n) for n in range(20, 40))
    found = files(tmp_path, gpu)
    (node,) = found.report.nodes
    assert (node.gpus[0].samples, node.gpus[0].pcie_rx_mb_s.count) == (40, 20)


def test_comma_separated_values(tmp_path: Path) -> None:
    gpu = "#gpu, pwr, sm\n#Idx, W, %\n" + "0, 300, 50\n1, -, 60\n" * 20
    (node,) = files(tmp_path, gpu).report.nodes
    assert [gpu.sm_pct.mean for gpu in node.gpus] == [50, 60]
    assert node.gpus[1].power_w.mean is None


def test_rows_without_a_time_are_a_second_apart_and_that_is_said(tmp_path: Path) -> None:
    found = files(tmp_path, BARE + "    0    300     60     97   1024\n" * 40)
    assert found.timeline and found.timeline.cells * found.timeline.step_s == pytest.approx(40, 2)
    (node,) = found.report.nodes
    assert (node.began, node.duration_s) == (None, None), "no date is made up"
    assert any("to be a second apart" in problem for problem in node.problems)
    assert "1970-" not in render_html(found) + render_text(found.report)


def test_a_table_without_times_is_put_beside_the_other(tmp_path: Path) -> None:
    gpu = DMON + "".join(dmon(n) for n in range(40))
    bare = BARE + "    0    300     60     97   1024\n" * 40
    for folder, first, second in (
        ("a", gpu, UNTIMED + "".join(map(untimed, range(40)))),
        ("b", bare, VMSTAT + "".join(map(vmstat, range(40)))),
    ):
        found = files(tmp_path / folder, first, second)
        assert found.timeline and found.timeline.cells <= 21
        assert np.isfinite(series(found, "sm_pct", 0)).all()
        assert np.isfinite(series(found, "cpu_busy_pct")).any()
        (node,) = found.report.nodes
        assert any("begin at the same moment" in problem for problem in node.problems)


def test_a_time_of_day_runs_on_over_midnight(tmp_path: Path) -> None:
    head = "#Time        gpu    sm\n#HH:MM:SS    Idx     %\n"
    rows = [f" 23:59:{s:02d}     0    90\n" for s in range(30, 60)]
    rows += [f" 00:00:{s:02d}     0    90\n" for s in range(30)]
    found = files(tmp_path, head + "".join(rows))
    assert found.timeline and found.timeline.cells in (30, 31)


TIME_OF_DAY = "#Time        gpu    sm\n#HH:MM:SS    Idx     %\n"


def test_a_time_of_day_belongs_to_the_day_of_the_other_table(tmp_path: Path) -> None:
    """dmon began ten seconds after vmstat."""
    rows = "".join(f" {clock(n)}     0    90\n" for n in range(10, 40))
    found = files(tmp_path, TIME_OF_DAY + rows, VMSTAT + "".join(map(vmstat, range(40))))
    assert found.timeline and found.timeline.cells in (20, 21)
    assert np.isfinite(series(found, "sm_pct", 0)).sum() in (15, 16)
    (node,) = found.report.nodes
    assert any("of the day of vmstat's" in problem for problem in node.problems)


def test_a_time_of_day_beside_a_table_without_times(tmp_path: Path) -> None:
    """Both begin at once, and not one at midnight and the other at nine in the morning."""
    rows = "".join(f" {clock(n)}     0    90\n" for n in range(40))
    found = files(tmp_path, TIME_OF_DAY + rows, UNTIMED + "".join(map(untimed, range(40))))
    assert found.timeline and found.timeline.cells <= 21
    (node,) = found.report.nodes
    assert any("begin at the same moment" in problem for problem in node.problems)


def test_power_caps_are_read_where_dmon_tells_them(tmp_path: Path) -> None:
    gpu = "# gpu    sm  pclk pviol tviol\n# Idx     %   MHz     %  bool\n"
    gpu += "    0    97  1400     0     0\n" * 20 + "    0    97  1000    90     1\n" * 20
    found = files(tmp_path, gpu)
    assert np.nanmax(series(found, "power_capped", 0)) == pytest.approx(0.9)
    assert found.findings[0].key in ("thermal", "power")


def test_the_wrong_file_is_taken_for_what_it_is(tmp_path: Path) -> None:
    cpu = VMSTAT + "".join(map(vmstat, range(20)))
    found = files(tmp_path, cpu)
    (node,) = found.report.nodes
    assert "dmon.txt is from vmstat, not from nvidia-smi dmon or --query-gpu" in node.problems
    assert node.cpu_busy_pct.mean == 25
    assert "no file of nvidia-smi dmon or --query-gpu" in node.problems


@pytest.mark.parametrize("text", ["", "hello\n" * 50, "\0\0\0", DMON, " 20260816 09:22:34 0 6\n"])
def test_a_file_without_a_row_is_named(tmp_path: Path, text: str) -> None:
    found = files(tmp_path, text)
    (problem,) = found.report.problems
    assert problem.startswith("dmon.txt: no samples in it")
    assert found.verdict == "Too few samples for a verdict."
    assert "dmon.txt" in render_text(found.report)


def test_two_nodes_of_one_job(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    paths = [tmp_path / folder / "dmon.txt" for folder in "ab"]
    for number, path in enumerate(paths):
        path.write_text(DMON + "".join(dmon(n, sm=98 if number else 0) for n in range(30)))
    found = analyse_files(paths, [])
    assert [node.node for node in found.report.nodes] == ["dmon", "dmon-2"]
    assert found.verdict == "dmon GPU 0 did nothing: 1 of 2 GPUs."


def test_on_the_command_line(tmp_path: Path) -> None:
    gpu, cpu = tmp_path / "g.txt", tmp_path / "c.txt"
    gpu.write_text(DMON + "".join(dmon(n) for n in range(30)))
    cpu.write_text(VMSTAT + "".join(map(vmstat, range(30))))
    page = tmp_path / "page.html"
    files = ["--gpu", str(gpu), "--cpu", str(cpu), "--html", str(page)]
    command = ["-m", "hpclaunch.cli.main", "report", *files]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Nothing stands out.\n")
    assert "GPU power" in page.read_text()


gpu_lines = st.lists(
    st.one_of(
        st.sampled_from([DMON, OLD, BARE, "\n", "# gpu\n"]),
        st.builds(dmon, st.integers(0, 3599), st.integers(0, 12), st.integers(0, 100)),
        st.builds(old, st.integers(0, 3599)),
        st.just("    0    300     60     97   1024\n"),
    ),
    max_size=30,
).map("".join)
cpu_lines = st.lists(
    st.one_of(
        st.sampled_from([VMSTAT, UNTIMED, WIDE, "\n"]),
        st.builds(vmstat, st.integers(0, 3599)),
        st.builds(untimed, st.integers(0, 3599)),
        st.builds(wide, st.integers(0, 3599)),
    ),
    max_size=30,
).map("".join)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), gpu=gpu_lines, cpu=cpu_lines)
def test_any_mixture_damaged_anyhow_is_a_report(
    data: st.DataObject, gpu: str, cpu: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "g").write_bytes(data.draw(damaged(gpu.encode())))
    (folder / "c").write_bytes(data.draw(damaged(cpu.encode())))
    found = analyse_files([folder / "g"], [folder / "c"])
    assert render_text(found.report)
    assert render_html(found)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 5000))
def test_a_truncated_file_makes_up_no_zero(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing in the file is 0 W, 0 C or 0 MHz, so nothing in the report may be."""
    folder = tmp_path_factory.mktemp("cut")
    whole = DMON + "".join(dmon(n) for n in range(30))
    (folder / "g").write_text(whole[:cut])
    found = analyse_files([folder / "g"], [])
    for node in found.timeline.nodes if found.timeline else ():
        for gpu in node.gpus:
            for name in ("power_w", "temperature_c", "sm_clock_mhz", "sm_pct"):
                if name in gpu.bands:
                    low = gpu.bands[name].low
                    assert not (low[np.isfinite(low)] < 61).any()
