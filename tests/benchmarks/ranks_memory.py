"""Samples what the ranks of a run on this machine hold of its memory, until their first step."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.phase import read_phase

KINDS = ("RssAnon", "RssFile")
"""Memory of the rank's own, and pages of files."""
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_S, LOOK_S = 0.02, 1.0
"""Seconds between two samples, and between two looks for ranks."""
FIRST_STEP = "the first step is running"
"""The phase in which the sampling ends."""


class RanksMemory(threading.Thread):
    """Keeps the peaks of all ranks' memory together, every 20 ms; all in bytes."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.peak: Counter[str] = Counter()
        self.phases: dict[str, int] = {}
        """The peak of the ranks' own memory in each phase."""
        self.base = 0
        """The ranks' own memory when imports are done."""
        self.loaded = 0
        """Their own memory when the first step begins."""
        self.cpu_s = 0.0
        """CPU seconds of the ranks by then."""
        self.first_step_at: float | None = None
        """When the first step began, in Unix seconds."""
        self._ranks: list[int] = []
        self._looked_at = 0.0
        self.ended = False
        """Set it to end the sampling before the first step."""

    @property
    def peak_ratio(self) -> float:
        """The peak of what is held beside the imports, in parts of what stays of it."""
        return (self.peak["RssAnon"] - self.base) / max(1, self.loaded - self.base)

    def run(self) -> None:
        """Sample."""
        while not self.ended and self.first_step_at is None:
            phase = read_phase(self.folder)
            name = "" if phase is None else phase.name
            now = self._sample()
            if phase is not None and name == FIRST_STEP:
                self.first_step_at, self.loaded = phase.began, now["RssAnon"]
                self.cpu_s = sum(cpu_seconds(pid) for pid in ranks_of(self.folder))
                return
            if name.startswith("reading"):
                self.base = max(self.base, now["RssAnon"])
            self.phases[name] = max(self.phases.get(name, 0), now["RssAnon"])
            self.peak |= now
            time.sleep(SAMPLE_S)

    def _sample(self) -> Counter[str]:
        found: Counter[str] = Counter()
        if time.monotonic() - self._looked_at > LOOK_S:  # it reads every process's command line
            self._ranks, self._looked_at = list(ranks_of(self.folder)), time.monotonic()
        for pid in self._ranks:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    key, _, value = line.partition(":")
                    if key in KINDS:
                        found[key] += int(value.split()[0]) * 1024
        return found


def ranks_of(folder: RunFolder) -> Iterator[int]:
    """Yield the process ids of a run's ranks."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().decode().split("\0")
            if "hpclaunch.train" in words and str(folder.root) in words and "-m" in words:
                environment = (path / "environ").read_bytes()
                if b"\0RANK=" in environment:
                    yield int(path.name)


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and of its children that have ended."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS
    return 0.0
