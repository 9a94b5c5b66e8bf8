"""The report as a person reads it, and the command that prints it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitors.analysis.analysis import build
from monitors.analysis.finding import Finding
from monitors.analysis.summary import GpuSummary, NodeSummary, Report, Stat
from monitors.records import GpuInfo, GpuSample, HostSample, Note, OwnCost
from monitors.report.text import render_findings, render_text
from tests.monitors.recorded import (
    GPU_A,
    NOON,
    end,
    start,
    tick,
    write_dmon,
    write_samples,
    write_vmstat,
)
from tests.monitors.running import ROOT

BUSY = HostSample(
    cpu_busy_pct=12.3,
    cpu_iowait_pct=0,
    mem_used_mib=51200,
    mem_total_mib=512000,
    cgroup_mem_mib=46080,
    cgroup_limit_mib=409600,
)


def text_of(folder: Path) -> str:
    text = render_text(build(folder))
    assert [line for line in text.splitlines() if len(line) > 80] == []
    return text


def test_the_whole_report_of_one_node(tmp_path: Path) -> None:
    gpu = GpuSample(0, power_w=310.4, temperature_c=60, sm_pct=97, memory_used_mib=70_000)
    ticks = [tick(n, gpu, GpuSample(1), host=BUSY, own=OwnCost(0.003, 20_480)) for n in range(65)]
    write_samples(
        tmp_path,
        [start(GPU_A, GpuInfo(1, "GPU-bbbb")), *ticks, Note(NOON + 3, "GPU 1: power"), end(65, 65)],
    )
    write_dmon(tmp_path, [])
    write_vmstat(tmp_path, [])
    assert text_of(tmp_path).splitlines() == [
        "1 node, 2 GPUs, 1 min 05 s, from 2026-09-21 14:13:20+00:00",
        "",
        "n1",
        "  record     65 samples, 0 missed, 1 min 05 s",
        "             last sample 2026-09-21 14:14:25+00:00; ended in order",
        "  sidecar    CPU 0.15 % of a core, memory 20 MiB",
        "  cpu        mean 12.3, peak 12.3 %; I/O wait mean 0.0, peak 0.0 %",
        "  memory     mean 50.0, peak 50.0 GiB of 500.0 GiB; job peak 45.0 of 400.0 GiB",
        "  network    in unknown; out unknown",
        "  GPU                            util %       power W     memory GiB     temp C",
        "                              mean  peak   mean  peak    peak  total  mean  peak",
        "    0 NVIDIA A100-SXM4-80GB     97    97    310   310    68.4   80.0    60    60",
        "    1 GPU-bbbb                   -     -      -     -       -      -     -     -",
        "  note       GPU 1 answered in 0 of 65 samples",
        "  note       2026-09-21T14:13:23+00:00: GPU 1: power",
    ]


def test_tensor_cores_and_nvlink_are_told_where_they_are_known(tmp_path: Path) -> None:
    first = GpuSample(0, sm_pct=97, tensor_active_pct=50, nvlink_rx_mb_s=9000, nvlink_tx_mb_s=8000)
    second = GpuSample(1, sm_pct=97, tensor_active_pct=30, nvlink_rx_mb_s=3000, nvlink_tx_mb_s=100)
    bare = (GpuSample(0, sm_pct=97), GpuSample(1, sm_pct=97))
    ticks = [tick(n, *(bare if n % 5 else (first, second))) for n in range(20)]
    write_samples(tmp_path, [start(GPU_A, GpuInfo(1, "GPU-bbbb")), *ticks, end(20, 20)])
    lines = text_of(tmp_path).splitlines()
    assert lines[-3:] == [
        "  tensor cores active 40 % of the time on average, by GPU 30 to 50 %",
        "  NVLink in  a GPU mean 6,000, peak 9,000 MB/s",
        "  NVLink out a GPU mean 4,050, peak 8,000 MB/s",
    ]


def test_what_is_not_known_is_called_unknown(tmp_path: Path) -> None:
    write_vmstat(tmp_path, [(0, {"id": 100})])
    text = text_of(tmp_path)
    assert "1 sample, unknown missed" in text
    assert "CPU unknown, memory unknown" in text
    assert "memory     unknown of - GiB" in text
    assert "in unknown; out unknown" in text
    assert "end unknown" in text
    assert "n1.samples.jsonl is missing" in text


def test_long_lines_are_folded_and_nothing_is_lost(tmp_path: Path) -> None:
    wide = HostSample(net_rx_bytes=0, net_tx_bytes=0, ib_rx_bytes=0, ib_tx_bytes=0)
    fast = HostSample(*(None,) * 8, *(50_123_000_000,) * 4)
    notes = [Note(NOON, "word " * 60), Note(NOON, "x" * 300)]
    name = "gpu-node-with-a-long-name." * 4 + "example.org"
    write_samples(
        tmp_path,
        [start(problem="a reason " * 20), tick(0, host=wide), tick(1, host=fast), *notes],
        node=name,
    )
    text = text_of(tmp_path)
    assert text.count("word") == 60
    assert " ".join(text.split()).count("a reason") == 20
    assert "".join(text.split()).count("x" * 300) == 1
    assert "".join(text.split()).count("mean50123.0,peak50123.0MB/s") == 4
    assert name in text.replace("\n", "")


def test_figures_too_large_for_their_column_stay_apart(tmp_path: Path) -> None:
    gpu = GpuSample(0, 1e23, 99_999, None, 1e5, 1, memory_used_mib=1e20)
    write_samples(tmp_path, [start(GPU_A), tick(0, gpu)])
    (row,) = [line for line in text_of(tmp_path).splitlines() if line.startswith("    0 ")]
    figures = ["1e+05", "1e+05", "1e+23", "1e+23", "1e+17", "80.0", "99999", "99999"]
    assert row.split()[3:] == figures or row.split()[2:] == figures


def test_bytes_from_the_files_do_not_command_the_terminal(tmp_path: Path) -> None:
    info = GpuInfo(0, "GPU-0", "\x1b[31mred\x07")
    write_samples(tmp_path, [start(info), tick(0), Note(NOON, "a\x1b]0;title\x07b\ud800\nc")])
    odd = os.fsdecode(b"n\xff.samples.jsonl")
    (tmp_path / "n1.samples.jsonl").rename(tmp_path / odd)
    text = text_of(tmp_path)
    assert "\x1b" not in text
    assert "?[31mred?" in text
    text.encode()


def test_many_notes_are_cut_and_counted(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(), tick(0), *(Note(NOON, f"note-{n}") for n in range(500))])
    text = text_of(tmp_path)
    assert "note-9\n" in text
    assert "note-10\n" not in text
    assert "and 490 more notes" in text
    assert len(build(tmp_path).nodes[0].notes) == 500


def test_several_nodes_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        node = f"node{number}"
        # node10's clock shows the smallest hour, yet it began last.
        offset, after = (-3600 * 5, 30) if number == 10 else (0, number)
        ticks = [tick(n, GpuSample(0, sm_pct=number), after=after) for n in range(number)]
        write_samples(
            tmp_path, [start(GPU_A, offset=offset, after=after, node=node), *ticks], node=node
        )
    report = build(tmp_path)
    assert [node.node for node in report.nodes] == ["node1", "node2", "node10"]
    assert [node.gpus[0].sm_pct.mean for node in report.nodes] == [1, 2, 10]
    head = text_of(tmp_path).splitlines()[0]
    assert head == "3 nodes, 3 GPUs, 10 s, from 2026-09-21 14:13:21+00:00"


@pytest.mark.parametrize(("seconds", "shown"), [(59, "59 s"), (60, "1 min 00 s"), (3661, "1 h 01")])
def test_durations(tmp_path: Path, seconds: int, shown: str) -> None:
    write_samples(tmp_path, [start(), tick(seconds - 1)])
    assert f"1 node, 0 GPUs, {shown}" in text_of(tmp_path)


def run_report(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monitors.report", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_the_command_prints_text_or_json(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(GPU_A), tick(0, GpuSample(0, sm_pct=7)), end(1, 1)])
    plain = run_report(str(tmp_path))
    assert (plain.returncode, plain.stderr) == (0, "")
    verdict = "Too few samples for a verdict."
    assert plain.stdout == f"{verdict}\n\n{text_of(tmp_path)}\n"
    machine = run_report(str(tmp_path), "--json")
    assert (machine.returncode, machine.stderr) == (0, "")
    (node,) = json.loads(machine.stdout)["nodes"]
    assert node["gpus"][0]["sm_pct"] == {"mean": 7, "peak": 7, "count": 1}
    assert node["gpus"][0]["power_w"] == {"mean": None, "peak": None, "count": 0}
    assert node["mem_total_mib"] is None
    assert (json.loads(machine.stdout)["verdict"], plain.stdout[:30]) == (verdict, verdict)


def test_without_numpy_the_figures_are_there_all_the_same(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(GPU_A), tick(0, GpuSample(0, sm_pct=7)), end(1, 1)])
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        f"from monitors.report.build import main; sys.exit(main([{str(tmp_path)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, text_of(tmp_path) + "\n")
    assert done.stderr == "report: no findings and no page: numpy is not installed\n"


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    write_samples(tmp_path, [start(GPU_A), *(tick(n, GpuSample(0, sm_pct=7)) for n in range(20))])
    events = tmp_path / "events.jsonl"
    event = {"time": NOON + 9, "event": "step", "step": 1, "seconds": 5, "tokens": 100, "loss": 1.5}
    events.write_text(json.dumps(event) + "\n{torn")
    cut = "events.jsonl: the last line is cut off"
    page = tmp_path / "page.html"
    done = run_report(str(tmp_path), "--html", str(page), "--events", str(events))
    assert (done.returncode, done.stderr) == (0, f"report: {cut}\n")
    assert cut in done.stdout
    assert "The GPUs were hardly used" in done.stdout
    assert "20 tokens/s" in page.read_text()
    nowhere = run_report(str(tmp_path), "--html", str(tmp_path / "no" / "page.html"))
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_the_command_says_when_there_is_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = run_report(str(tmp_path), *flags)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "holds no record" in done.stderr
    if flags:
        assert json.loads(done.stdout)["nodes"] == []
    else:
        assert done.stdout.startswith("No record to report on.")


def test_many_gpus_are_shown_as_the_worst_the_median_and_the_best(tmp_path: Path) -> None:
    for number in range(1, 17):
        infos = [GpuInfo(index, f"GPU-{number}-{index}") for index in range(8)]

        def sample(index: int, number: int = number) -> GpuSample:
            slow = (number, index) == (7, 3)
            return GpuSample(
                index,
                power_w=210 if slow else 390,
                temperature_c=88 if slow else 60,
                sm_pct=97,
                sm_clock_mhz=1005 if slow else 1395,
            )

        ticks = [tick(n, *map(sample, range(8)), host=BUSY) for n in range(3)]
        notes = [Note(NOON, "GPU 5: Xid 63")] if number == 9 else []
        node = f"node{number:02d}"
        write_samples(tmp_path, [start(*infos, node=node), *ticks, *notes], node=node)
    report = build(tmp_path)
    text = text_of(tmp_path)
    assert text.splitlines()[3:8] == [
        "128 GPUs                worst                       median   best",
        "  utilization, %           97                           97     97",
        "  power, W                210  node07 GPU 3            390    390  node16 GPU 7",
        "  SM clock, MHz          1005  node07 GPU 3           1395   1395  node16 GPU 7",
        "  peak temperature, C      88  node07 GPU 3             60     60  node01 GPU 0",
    ]
    assert "node09: 2026-09-21T14:13:20+00:00: GPU 5: Xid 63" in text
    assert len(text.splitlines()) < 25
    whole = render_text(report, all_gpus=True)
    assert whole.count(" GPU-") == 128
    done = run_report(str(tmp_path), "--all-gpus")
    assert done.stdout.endswith(whole + "\n")


@pytest.mark.parametrize("columns", [40, 66, 80, 132, 200])
@pytest.mark.parametrize("gpus", [4, 40])
def test_it_folds_at_the_terminals_width(
    monkeypatch: pytest.MonkeyPatch, columns: int, gpus: int
) -> None:
    long = "NVIDIA A100-SXM4-80GB with a long name that says what it is, and then some more"
    table = tuple(
        GpuSummary(index, name=long, samples=9, sm_pct=Stat(index, 99, 9)) for index in range(gpus)
    )
    busy = NodeSummary("n1", samples=9, notes=("a word " * 40,), gpus=table)
    finding = Finding("data", "It waited. " * 20, "So much. " * 30, "Slow.", "Be fast.")
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    text = render_text(Report("here", (busy,))) + "\n" + render_findings("Late. " * 40, [finding])
    longest = max(map(len, text.splitlines()))
    assert columns - 16 <= longest <= columns
    if columns == 200 and gpus == 4:
        assert long in text, "there is room for it"


class Terminal(io.StringIO):
    """A stdout that is a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True
