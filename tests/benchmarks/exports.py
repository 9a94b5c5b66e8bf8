"""What an export costs: Parquet from the blocks' arrays beside CSV row by row, of the same record.

    python -m tests.benchmarks.exports [HOURS]

One node with eight GPUs once a second over HOURS hours (24), made up to be as restless as real ones
(`tests.monitors.restless`); each export runs in a process of its own. Prints time, memory and size;
ends with 1 where Parquet takes more than a tenth of CSV's CPU time, or too much memory.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.monitors import restless
from tests.monitors.running import ROOT, environment

GPUS = 8
MOST_OF_CSV = 0.1
MOST_RSS_MIB = 400.0
"""Some 100 of them are pyarrow itself."""

EXPORT = """
import resource, sys, time
from pathlib import Path
from monitors.exports.export import export
begin, spent = time.perf_counter(), time.process_time()
(path,) = export(Path({folder!r}), {form!r}, Path({out!r}))
seconds, cpu_s = time.perf_counter() - begin, time.process_time() - spent
rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(seconds, cpu_s, rss_mib, path.stat().st_size)
"""


@dataclass(frozen=True)
class Cost:
    """What one export took."""

    seconds: float
    cpu_s: float
    """CPU time of all its threads, which a busy machine does not stretch."""
    rss_mib: float
    size_bytes: int


def cost(folder: Path, form: str) -> Cost:
    """Export a folder with one node in a process of its own."""
    program = EXPORT.format(folder=str(folder), form=form, out=str(folder / "out"))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(None, {}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, cpu_s, rss, size = map(float, done.stdout.split())
    return Cost(seconds, cpu_s, rss, int(size))


def main(arguments: list[str]) -> int:
    """Run both; returns 1 where Parquet costs more than it may."""
    hours = float(arguments[0]) if arguments else 24.0
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "metrics"
        restless.record(folder, 0, GPUS, round(hours * 3600))
        print(
            f"a node with {GPUS} GPUs, {hours:g} h; {platform.machine()}, {cores} cores, "
            f"Python {platform.python_version()}:"
        )
        costs = {form: cost(folder, form) for form in ("parquet", "csv")}
    for form, found in costs.items():
        print(
            f"  {form:<8} {found.seconds:7.2f} s, {found.cpu_s:6.2f} s of CPU  "
            f"{found.rss_mib:4.0f} MiB  {found.size_bytes / 1e6:6.1f} MB"
        )
    parquet, csv = costs["parquet"], costs["csv"]
    ratio = parquet.cpu_s / csv.cpu_s
    print(
        f"  parquet takes {ratio:.3f} of csv's CPU time (wanted: under {MOST_OF_CSV}) and "
        f"{parquet.rss_mib:.0f} MiB (wanted: under {MOST_RSS_MIB:.0f})"
    )
    return int(ratio > MOST_OF_CSV or parquet.rss_mib > MOST_RSS_MIB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
