"""A training of four nodes that goes on while one fault after the other is done to it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.diagnose.changes import changes
from hpclaunch.run.events import read_events
from hpclaunch.run.find import find
from monitors.analysis.analysis import Analysis, JobContext, analyse_folder
from tests.slurm.user import ROOT, User

SMALL = ROOT / "tests/slurm/verdicts/small.py"
SETTLE_S = 1.5
"""Until a fault that was begun or ended can be felt in all that is sampled."""
START_S = 150


@dataclass(frozen=True)
class Training:
    """The run of `small.py` on all nodes, one rank on each."""

    user: User
    name: str = "small"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.user.folder / "runs" / self.name

    @contextlib.contextmanager
    def under_way(self) -> Iterator[Training]:
        """Start it, wait for its first steps; let it end in the end."""
        nodes = ["--nodes", "4", "--cpu-processes", "1", "--cpus", "1"]
        program = ["--name", self.name, "--", str(SMALL), str(self.folder)]
        done = self.user.hpclaunch("sbatch", *nodes, *program)
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + START_S
        while self.steps() < 3:
            assert time.monotonic() < deadline, self.user.hpclaunch("logs", self.name).stdout
            time.sleep(0.2)
        yield self
        (self.folder / "stop").touch()
        assert self.user.jobs_left(60) == ""
        log = self.user.hpclaunch("logs", self.name).stdout
        assert self.user.status(self.name)["state"] == "done", log

    def steps(self) -> int:
        """How many steps have been marked."""
        return sum(mark["event"] == "step" for mark in read_events(self.folder / "events.jsonl"))

    def during(
        self, name: str, fault: contextlib.AbstractContextManager[object], seconds: float
    ) -> Analysis:
        """What the report says of the time under a fault alone; kept beside the record."""
        with fault:
            time.sleep(SETTLE_S)
            begin = time.time()
            time.sleep(seconds)
            end = time.time()
        time.sleep(SETTLE_S)  # until the last samples are there
        folder, record = find(str(self.folder))
        marks = within(read_events(folder.events), begin, end)
        found = analyse_folder(
            folder.metrics, JobContext(events=marks, fixes=changes(folder, record))
        )
        with (self.folder / "windows.jsonl").open("a") as file:
            window = {"name": name, "begin": begin, "end": end, "verdict": found.verdict}
            file.write(json.dumps(window) + "\n")
        return found


def besides_queues(found: Analysis) -> list[str]:
    """Return the keys of the findings, without that ranks queue: four nodes share two cores."""
    return [each.key for each in found.findings if each.key not in ("rank-queue", "crowded")]


def within(marks: Iterable[dict[str, Any]], begin: float, end: float) -> tuple[dict[str, Any], ...]:
    """Marks of what lies wholly between two moments."""
    return tuple(
        mark
        for mark in marks
        if mark["time"] <= end and mark["time"] - mark.get("seconds", 0) >= begin
    )


@contextlib.contextmanager
def between(begin: Callable[[], object], end: Callable[[], object]) -> Iterator[None]:
    """A fault, by what begins and what ends it."""
    begin()
    try:
        yield
    finally:
        end()
