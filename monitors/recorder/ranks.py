"""The ranks of this job on this node: for how long their main threads ran, or waited for a core.

A rank whose main thread neither runs nor stands in line for a core waits: for its batch, for a
disk, or for the other ranks. So these times tell, without asking the program, which node the others
waited for. On a GPU a rank that waits for its device usually spins, and counts as running.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from monitors.recorder.kernel_files import open_file, read_file

SAME_JOB = ("SLURM_JOB_ID", "SLURM_NODEID", "HPCLAUNCH_RUN", "MONITORED_BY")
"""Variables that, where the sidecar has them, a process of the same job on this node has, too."""
_LOCAL_RANK, _RANK = b"LOCAL_RANK", b"RANK"
_MOST_RANK = 10
"""No number of a rank has as many digits."""
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh"}
_SCAN_S, _SCAN_LATER_S = 5.0, 20.0
"""Seconds between two scans of all processes: when something has changed, and when not for a
while. A scan costs some 30 us a process of this user."""
_TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class RankTimes:
    """One rank, in seconds since it started, and who it is."""

    ran_s: float
    """Its main thread on a core."""
    queued_s: float
    """Its main thread ready to run, without a core."""
    cpu_s: float
    """All its threads on cores."""
    letter: str = ""
    """State of its main thread, as `/proc/PID/stat` has it: R, S, D, T."""
    rank: int | None = None
    local_rank: int | None = None


@dataclass(frozen=True, slots=True)
class _RankNumbers:
    rank: int | None
    local_rank: int | None


@dataclass(frozen=True, slots=True)
class _Open:
    schedstat: FileIO | None
    stat: FileIO | None
    numbers: _RankNumbers


class RankFiles:
    """Finds the ranks, keeps their files open, and looks for others now and then."""

    def __init__(self, root: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._proc = root / "proc"
        self._same = {
            f"{name}={environment[name]}".encode() for name in SAME_JOB if environment.get(name)
        }
        self._open: dict[int, _Open] = {}
        self._scan_at, self._pause = 0.0, _SCAN_S

    def read(self) -> dict[int, RankTimes]:
        """Times of every rank by its process id; nothing where none can be found or read."""
        if not self._same:
            return {}
        now = time.monotonic()
        if now >= self._scan_at:
            changed = self._scan()
            self._pause = _SCAN_S if changed else min(2 * self._pause, _SCAN_LATER_S)
            self._scan_at = now + self._pause
        found: dict[int, RankTimes] = {}
        for pid, files in list(self._open.items()):
            times = _times(read_file(files.schedstat), read_file(files.stat), files.numbers)
            if times is None:
                self._close(pid)
                self._scan_at = 0.0
            else:
                found[pid] = times
        return found

    def _close(self, pid: int) -> None:
        for file in (self._open[pid].schedstat, self._open[pid].stat):
            if file is not None:
                file.close()
        del self._open[pid]

    def _scan(self) -> bool:
        """Scan for ranks; return whether they are others than before."""
        before = set(self._open)
        found = _ranks(self._proc, self._same)
        for pid in before - found.keys():
            self._close(pid)
        for pid in found.keys() - before:
            folder = self._proc / str(pid)
            self._open[pid] = _Open(
                open_file(folder / "schedstat"), open_file(folder / "stat"), found[pid]
            )
        return found.keys() != before


def _ranks(proc: Path, same: set[bytes]) -> dict[int, _RankNumbers]:
    """Processes with a rank of their own: not the workers they started, nor a shell around them.

    By their process ids. With psutil, which reads more of each process than is asked for, a scan
    of 129 processes takes 7.2 ms instead of 2.7.
    """
    user = os.geteuid()
    parents: dict[int, int] = {}
    numbers: dict[int, _RankNumbers] = {}
    for folder in proc.iterdir() if proc.is_dir() else ():
        if not folder.name.isdigit():
            continue
        try:
            if folder.stat().st_uid != user:
                continue
            variables = (folder / "environ").read_bytes().split(b"\0")
            if not any(variable.partition(b"=")[0] == _LOCAL_RANK for variable in variables):
                continue
            if not same.issubset(variables):
                continue
            name, parent = _name_and_parent((folder / "stat").read_bytes())
        except (OSError, ValueError, IndexError):  # it has ended meanwhile
            continue
        if name not in _SHELLS:
            parents[int(folder.name)] = parent
            numbers[int(folder.name)] = _RankNumbers(
                _number(variables, _RANK), _number(variables, _LOCAL_RANK)
            )
    return {pid: numbers[pid] for pid, parent in parents.items() if parent not in parents}


def _number(variables: list[bytes], name: bytes) -> int | None:
    """The number that a variable holds; None where it is not there, or holds anything else."""
    head = name + b"="
    text = next((each[len(head) :] for each in variables if each.startswith(head)), b"")
    return int(text) if text.isdigit() and len(text) < _MOST_RANK else None


def _name_and_parent(stat: bytes) -> tuple[str, int]:
    # The name, in parentheses, may hold spaces and parentheses itself.
    name, _, rest = stat.partition(b"(")[2].rpartition(b")")
    return name.decode(errors="replace"), int(rest.split()[1])


def _times(schedstat: bytes, stat: bytes, numbers: _RankNumbers) -> RankTimes | None:
    """Both files of one process; None where it has ended."""
    try:
        ran, queued = (int(word) for word in schedstat.split()[:2])
        words = stat.rpartition(b")")[2].split()
        if words[0] in (b"Z", b"X"):
            return None
        letter = words[0].decode(errors="replace")
        spent = int(words[11]) + int(words[12])
    except (ValueError, IndexError):
        return None
    return RankTimes(
        ran / 1e9, queued / 1e9, spent / _TICKS_S, letter, numbers.rank, numbers.local_rank
    )
