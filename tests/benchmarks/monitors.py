"""What watching costs: the sidecar beside vmstat and nvitop's collector, its files, its reports.

    python -m tests.benchmarks.monitors [SECONDS] [NODES] [HOURS]

The three samplers run at the same time, once a second, the GPUs being those of the stand-in library
of the tests (eight of them, each answering at once: what a real driver takes comes on top). Then
a report over made-up files of NODES nodes with eight GPUs each over HOURS hours. Prints figures
beside what is wanted; ends with 1 where the sidecar takes more than that.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from monitors import layout
from monitors.exports.rows import Source
from monitors.exports.tables import dmon_text
from monitors.report import render_html, study
from tests.monitors import traces
from tests.monitors.fake_nvml import build_fake_nvml
from tests.monitors.running import ROOT, environment

GPUS = 8
MOST_CPU_PCT, MOST_CPU_FAST_PCT, MOST_RSS_MIB = 0.5, 3.0, 30.0
DAY_S = 86400
WANTED_ROWS = 64 * GPUS * DAY_S
_PAGE = os.sysconf("SC_PAGE_SIZE")

NVITOP = """
import time
from nvitop import Device, ResourceMetricCollector
collector = ResourceMetricCollector(Device.all(), interval=1.0, root_pids=set())
collector.start("bench")
while True:
    time.sleep(1)
    collector.collect()
"""


@dataclass(frozen=True)
class Cost:
    """What a process took between two looks."""

    cpu_pct: float
    rss_mib: float


def look(pid: int) -> tuple[float, float]:
    """CPU seconds so far, and resident MiB."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    spent = sum(int(task.read_text().split()[0]) for task in tasks)
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return spent / 1e9, pages * _PAGE / 2**20


def samplers(folder: Path, library: Path, interval: str) -> dict[str, list[str]]:
    """Command lines by name, as far as the programs are installed."""
    sidecar = ["-m", "monitors.sidecar", "--out", str(folder), "--node", "n1"]
    found = {
        "sidecar": [sys.executable, *sidecar, "--interval", interval],
        "vmstat": ["vmstat", "-t", "1", "-y"],
    }
    if importlib.util.find_spec("nvitop"):
        found["nvitop"] = [sys.executable, "-c", NVITOP]
    return found


def side_by_side(seconds: float, library: Path, interval: str, *names: str) -> dict[str, Cost]:
    """Run samplers at the same time; their start is not counted."""
    env = environment(library, {"FAKE_NVML_GPUS": str(GPUS)})
    with tempfile.TemporaryDirectory() as folder:
        started = {
            name: subprocess.Popen(
                command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for name, command in samplers(Path(folder), library, interval).items()
            if not names or name in names
        }
        try:
            time.sleep(5)
            before = {name: look(process.pid) for name, process in started.items()}
            begin = time.monotonic()
            time.sleep(seconds)
            passed = time.monotonic() - begin
            found = {}
            for name, process in started.items():
                cpu_s, rss = look(process.pid)
                found[name] = Cost(100 * (cpu_s - before[name][0]) / passed, rss)
            return found
        finally:
            for process in started.values():
                process.terminate()
                process.wait()


def size_on_disk(folder: Path) -> tuple[float, float]:
    """Bytes a GPU and day of the samples file, and of dmon's text, from an hour made up."""
    traces.record(folder, nodes=1, gpus=GPUS, seconds=3600)
    path = layout.path_of(folder, "n1", layout.SAMPLES)
    dmon = sum(len(piece) for piece in dmon_text([Source("n1", path)]))
    scale = DAY_S / 3600 / GPUS
    return path.stat().st_size * scale, dmon * scale


def report(folder: Path, nodes: int, hours: float) -> None:
    """Time a report in a process of its own, for its memory."""
    seconds = round(hours * 3600)
    traces.record(folder, nodes=nodes, gpus=GPUS, seconds=seconds)
    begin = time.monotonic()
    child = os.fork()
    if not child:
        page = render_html(study(folder))
        print(f"  page {len(page) / 1e6:.2f} MB")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    passed = time.monotonic() - begin
    rss = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    rows = nodes * GPUS * seconds
    print(f"  {rows:,} GPU rows in {passed:.1f} s: {rows / passed:,.0f} a second; {rss:.0f} MiB")
    print(
        f"  at that pace the {WANTED_ROWS:,} rows of 64 nodes and a day take "
        f"{WANTED_ROWS * passed / rows:.0f} s (not measured; wanted: 30 s)"
    )


def main(arguments: list[str]) -> int:
    """Run all; returns 1 where the sidecar costs more than it may."""
    seconds = float(arguments[0]) if arguments else 30.0
    nodes = int(arguments[1]) if len(arguments) > 1 else 2
    hours = float(arguments[2]) if len(arguments) > 2 else 1.0
    failed = False
    with tempfile.TemporaryDirectory() as name:
        library = build_fake_nvml(Path(name) / "nvml")
        print(f"{GPUS} GPUs once a second, side by side for {seconds:.0f} s:")
        costs = side_by_side(seconds, library, "1.0")
        own = costs["sidecar"]
        for sampler, cost in costs.items():
            times = f", {cost.cpu_pct / own.cpu_pct:.1f} x the sidecar" if own.cpu_pct else ""
            text = f"{cost.cpu_pct:.2f}% of a core{times}, {cost.rss_mib:.1f} MiB"
            print(f"  {sampler:<8} {text}")
        failed |= own.cpu_pct > MOST_CPU_PCT or own.rss_mib > MOST_RSS_MIB
        print(f"  wanted: under {MOST_CPU_PCT}% and {MOST_RSS_MIB:.0f} MiB")
        fast = side_by_side(seconds, library, "0.1", "sidecar")["sidecar"]
        failed |= fast.cpu_pct > MOST_CPU_FAST_PCT
        print(f"  at 10 Hz {fast.cpu_pct:.2f}% of a core; wanted: under {MOST_CPU_FAST_PCT}%")
        own_size, dmon = size_on_disk(Path(name) / "size")
        print(
            f"disk: {own_size / 1e6:.1f} MB a GPU and day, dmon's text {dmon / 1e6:.1f} MB: "
            f"{own_size / dmon:.2f} of it (wanted: 0.1)"
        )
        print(f"report over {nodes} nodes x {GPUS} GPUs x {hours:g} h:")
        report(Path(name) / "report", nodes, hours)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
