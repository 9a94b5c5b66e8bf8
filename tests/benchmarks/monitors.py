"""What watching costs: the sidecar beside vmstat and nvitop's collector, its files, its reports.

    python -m tests.benchmarks.monitors [SECONDS] [NODES] [HOURS]

The three sidecars run at the same time, once a second, the GPUs being those of the stand-in library
of the tests (eight of them, each answering at once: what a real driver takes comes on top). Then
what a packing costs, and bytes on disk beside dmon's text of the same ticks, which are made up to
be as restless as real ones (`tests.monitors.restless`). Then a report over NODES nodes (64) with
eight GPUs each over HOURS hours (24): two nodes are recorded, the others are copies of them.
Prints figures beside what is wanted; ends with 1 where something takes more than that.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from monitors.analysis.parallel import MOST_PROCESSES
from monitors.exports.rows import RecordedNode
from monitors.exports.tables import dmon_text
from monitors.storage import filenames
from monitors.storage.compaction import MOST_BYTES
from monitors.storage.formats import json_lines
from tests.monitors import restless
from tests.monitors.fake_nvml import build_fake_nvml
from tests.monitors.running import ROOT, environment

GPUS = 8
MOST_CPU_PCT, MOST_CPU_FAST_PCT, MOST_RSS_MIB = 0.5, 3.0, 30.0
DAY_S = 86400
WANTED_ROWS = 64 * GPUS * DAY_S
MOST_OF_DMON = 0.1
MOST_REPORT_S, MOST_REPORT_MIB, MOST_PAGE = 30, 2048, 5_000_000
DISTINCT = 2
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

PACK = """
import sys, time
from pathlib import Path
from monitors.storage.journal import Journal
from monitors.recorder.processes import own_cost
journal = Journal(Path({folder!r}), "n1", 1 << 40)
for line in sys.stdin:
    journal.append(line)
before, begin = own_cost(), time.process_time()
journal._compact()
journal._replace()
print(time.process_time() - begin, own_cost().max_rss_kib - before.max_rss_kib)
"""

REPORT = """
import resource
from pathlib import Path
from monitors.analysis.analysis import analyse_folder
from monitors.report.build import render_html
page = render_html(analyse_folder(Path({folder!r})))
own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
cpu_s = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
print(len(page.encode()), own.ru_maxrss / 1024, others.ru_maxrss / 1024, cpu_s)
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


def sidecars(folder: Path, library: Path, interval: str) -> dict[str, list[str]]:
    """Command lines by name, as far as the programs are installed."""
    sidecar = ["-m", "monitors.recorder", "--out", str(folder), "--node", "n1"]
    found = {
        "sidecar": [sys.executable, *sidecar, "--interval", interval],
        "vmstat": ["vmstat", "-t", "1", "-y"],
    }
    if importlib.util.find_spec("nvitop"):
        found["nvitop"] = [sys.executable, "-c", NVITOP]
    return found


def side_by_side(seconds: float, library: Path, interval: str, *names: str) -> dict[str, Cost]:
    """Run sidecars at the same time; their start is not counted."""
    env = environment(library, {"FAKE_NVML_GPUS": str(GPUS)})
    with tempfile.TemporaryDirectory() as folder:
        started = {
            name: subprocess.Popen(
                command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for name, command in sidecars(Path(folder), library, interval).items()
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
    """Bytes a GPU and day of a node's files, and of dmon's text of the same, from three hours.

    What is packed grows with the day; the journal holds what is not packed yet, and does not.
    """
    seconds = 3 * 3600
    node = restless.record(folder, 0, GPUS, seconds)
    scale = DAY_S / seconds / GPUS
    packed = filenames.path_of(folder, node, filenames.BLOCKS).stat().st_size
    journal = filenames.path_of(folder, node, filenames.SAMPLES).stat().st_size
    dmon = sum(len(piece) for piece in dmon_text([RecordedNode(node, folder)]))
    return packed * scale + journal / GPUS, dmon * scale


def packing() -> Cost:
    """What one packing of a full journal takes: CPU as a share of the time between two."""
    lines, size = [], 0
    for tick in restless.ticks(0, GPUS, 3600):
        lines.append(json_lines.line(tick))
        size += len(lines[-1])
        if size >= MOST_BYTES:
            break
    with tempfile.TemporaryDirectory() as name:
        program = PACK.format(folder=name)
        done = subprocess.run(
            [sys.executable, "-c", program], input="".join(lines), cwd=ROOT,
            env=environment(None, {}), capture_output=True, text=True, check=True,
        )  # fmt: skip
    cpu_s, more_kib = map(float, done.stdout.split())
    return Cost(100 * cpu_s / len(lines), more_kib / 1024)


def report(folder: Path, nodes: int, hours: float) -> bool:
    """Time a report in a process of its own, for its memory; tells whether it took too much."""
    seconds = round(hours * 3600)
    folder.mkdir()
    for number in range(min(nodes, DISTINCT)):
        restless.record(folder, number, GPUS, seconds)
    for number in range(DISTINCT, nodes):
        for suffix in (filenames.BLOCKS, filenames.SAMPLES):
            whole = filenames.path_of(folder, f"n{number % DISTINCT + 1}", suffix)
            if whole.exists():
                shutil.copy(whole, filenames.path_of(folder, f"n{number + 1}", suffix))
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(folder=str(folder))],
        env=environment(None, {}), cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    passed = time.monotonic() - begin
    page, own, others, cpu_s = map(float, done.stdout.split())
    cores = len(os.sched_getaffinity(0))
    rss = own + others * min(cores, MOST_PROCESSES, nodes)
    rows = nodes * GPUS * seconds
    print(
        f"  {rows:,} GPU rows in {passed:.1f} s ({cpu_s:.1f} s of CPU) on {cores} cores; at most "
        f"{rss:.0f} MiB in all processes; page {page / 1e6:.2f} MB"
    )
    if rows < WANTED_ROWS:
        return False
    print(f"  wanted: under {MOST_REPORT_S} s, {MOST_REPORT_MIB} MiB and {MOST_PAGE / 1e6:.0f} MB")
    return passed > MOST_REPORT_S or rss > MOST_REPORT_MIB or page > MOST_PAGE


def main(arguments: list[str]) -> int:
    """Run all; returns 1 where something costs more than it may."""
    seconds = float(arguments[0]) if arguments else 30.0
    nodes = int(arguments[1]) if len(arguments) > 1 else 64
    hours = float(arguments[2]) if len(arguments) > 2 else 24.0
    failed = False
    with tempfile.TemporaryDirectory() as name:
        library = build_fake_nvml(Path(name) / "nvml")
        print(f"{GPUS} GPUs once a second, side by side for {seconds:.0f} s:")
        costs = side_by_side(seconds, library, "1.0")
        own, pack = costs["sidecar"], packing()
        for sidecar, cost in costs.items():
            times = f", {cost.cpu_pct / own.cpu_pct:.1f} x the sidecar" if own.cpu_pct else ""
            text = f"{cost.cpu_pct:.2f}% of a core{times}, {cost.rss_mib:.1f} MiB"
            print(f"  {sidecar:<8} {text}")
        print(f"  packing  {pack.cpu_pct:.2f}% of a core and {pack.rss_mib:.1f} MiB more")
        failed |= own.cpu_pct + pack.cpu_pct > MOST_CPU_PCT
        failed |= own.rss_mib + pack.rss_mib > MOST_RSS_MIB
        print(f"  wanted: under {MOST_CPU_PCT}% and {MOST_RSS_MIB:.0f} MiB")
        fast = side_by_side(seconds, library, "0.1", "sidecar")["sidecar"]
        failed |= fast.cpu_pct + 10 * pack.cpu_pct > MOST_CPU_FAST_PCT
        print(
            f"  at 10 Hz {fast.cpu_pct:.2f}% of a core, packing {10 * pack.cpu_pct:.2f}%; "
            f"wanted: under {MOST_CPU_FAST_PCT}%"
        )
        own_size, dmon = size_on_disk(Path(name) / "size")
        failed |= own_size > MOST_OF_DMON * dmon
        print(
            f"disk: {own_size / 1e6:.2f} MB a GPU and day, dmon's text {dmon / 1e6:.2f} MB: "
            f"{own_size / dmon:.3f} of it (wanted: under {MOST_OF_DMON})"
        )
        print(f"report over {nodes} nodes x {GPUS} GPUs x {hours:g} h:")
        failed |= report(Path(name) / "report", nodes, hours)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
