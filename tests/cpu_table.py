"""`pytest -p tests.cpu_table --cpu-table FILE`: the CPU time of each test and all that it started.

A cgroup of its own holds pytest and what it starts, Slurm's daemons too; what runs on behind a test
is counted to the next. Each line of FILE is one phase of one test, or the collection of one file;
`python -m tests.cpu_table FILE` prints the sums. Seconds of CPU time rise on a busy machine, too
(two threads share a core's caches and units): compare runs side by side.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NANOSECOND, MICROSECOND = 1e-9, 1e-6
SHOWN = {"phase": 9, "folder": 40, "file": 60, "test": 120}
"""How many rows of each kind of sum are printed."""


class Clocks(NamedTuple):
    """CPU seconds of everything measured, and seconds of the clock."""

    cpu: float
    wall: float


class Meter:
    """What this process and all that it started have used: by cgroup v1, v2, or getrusage."""

    def __init__(self) -> None:
        self._counter: Path | None = None
        base = Path("/sys/fs/cgroup")
        self._old = (base / "cpuacct").is_dir()
        folder = (base / "cpuacct" if self._old else base) / f"pytest-{os.getpid()}"
        try:
            folder.mkdir()
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        except OSError as error:
            print(f"no cgroup ({error}): daemons and what runs are not counted", file=sys.stderr)
        else:
            self._counter = folder / ("cpuacct.usage" if self._old else "cpu.stat")

    def now(self) -> Clocks:
        """Return what has been used until now."""
        return Clocks(self._cpu(), time.monotonic())

    def _cpu(self) -> float:
        if self._counter is None:
            both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, both))
        words = self._counter.read_text().split()
        return int(words[0]) * NANOSECOND if self._old else int(words[1]) * MICROSECOND


class Recorder:
    """Writes one line a phase."""

    def __init__(self, path: Path) -> None:
        self._meter = Meter()
        self._file = path.open("a", buffering=1)

    def _phase(self, test: str, phase: str) -> Generator[None, Any, Any]:
        begin = self._meter.now()
        try:
            return (yield)
        finally:
            end = self._meter.now()
            row = {"cpu_s": end.cpu - begin.cpu, "wall_s": end.wall - begin.wall}
            self._file.write(json.dumps({"test": test, "phase": phase, **row}) + "\n")

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, Any, Any]:
        """Record what importing a file costs."""
        if not isinstance(collector, pytest.Module):
            return (yield)
        return (yield from self._phase(collector.nodeid, "collect"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Record what a test's fixtures cost."""
        return (yield from self._phase(item.nodeid, "setup"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Record what a test costs."""
        return (yield from self._phase(item.nodeid, "call"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Record what the end of a test's fixtures costs."""
        return (yield from self._phase(item.nodeid, "teardown"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--cpu-table", type=Path, help="append each test's CPU seconds to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Record, in whatever process runs tests."""
    if config.option.cpu_table is not None:
        config.pluginmanager.register(Recorder(config.option.cpu_table))


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the sums by phase, folder and file, and the dearest tests."""
    sums: dict[str, dict[str, list[float]]] = {
        kind: defaultdict(lambda: [0.0, 0.0]) for kind in SHOWN
    }
    for row in rows:
        file = row["test"].partition("::")[0]
        folder = "/".join(file.split("/")[:2])
        names = {"phase": row["phase"], "folder": folder, "file": file, "test": row["test"]}
        for kind, name in names.items():
            sums[kind][name][0] += row["cpu_s"]
            sums[kind][name][1] += row["wall_s"]
    lines = [f"{'CPU s':>8}{'wall s':>9}"]
    for kind, most in SHOWN.items():
        lines.append(f"-- by {kind}")
        ordered = sorted(sums[kind].items(), key=lambda each: -each[1][0])
        lines += [f"{cpu:8.1f}{wall:9.1f}  {name}" for name, (cpu, wall) in ordered[:most]]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()))
