"""Which ranks' main threads sleep, since when and in what, kept in a small file.

Written when that changes: at most every ten seconds, and in a training that goes on hardly ever.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from monitors.recorder.ranks import RankTimes
from monitors.storage.rank_states import (
    BLOCKED,
    RUNNING,
    SLEEPING,
    STOPPED,
    RankState,
    RankStates,
    remove_rank_states,
    write_rank_states,
)

SETTLED_S = 20.0
"""Seconds for which a main thread must not have run until it counts as sleeping."""
AWAKE = 0.05
"""Share of the time between two readings: a main thread that ran, or was ready to, for more is
awake. Waiting with a time-out, and looking again, takes less."""
PAUSE_S = 10.0
"""Least seconds between two writes."""
_LETTERS = {"D": BLOCKED, "T": STOPPED, "t": STOPPED}
_CALLS = {
    "x86_64": {
        0: "read", 1: "write", 7: "poll", 16: "ioctl", 17: "pread64", 23: "select", 35: "nanosleep",
        45: "recvfrom", 47: "recvmsg", 61: "wait4", 74: "fsync", 202: "futex",
        230: "clock_nanosleep", 232: "epoll_wait", 247: "waitid", 257: "openat", 270: "pselect6",
        271: "ppoll", 281: "epoll_pwait",
    },
    "aarch64": {
        22: "epoll_pwait", 29: "ioctl", 56: "openat", 63: "read", 64: "write", 67: "pread64",
        72: "pselect6", 73: "ppoll", 82: "fsync", 95: "waitid", 98: "futex", 101: "nanosleep",
        115: "clock_nanosleep", 207: "recvfrom", 212: "recvmsg", 260: "wait4",
    },
}  # fmt: skip
"""Numbers of the system calls that processes sleep in, as the kernel's headers have them."""


@dataclass(slots=True)
class _Thread:
    last: RankTimes
    quiet_since: float | None = None
    """In seconds on the monotonic clock; None while it is awake."""
    letter_since: float = 0.0
    """Since when its state has the same letter, in seconds on the monotonic clock."""


class RankWatch:
    """Follows the main threads of a node's ranks from reading to reading."""

    def __init__(self, folder: Path, node: str, proc: Path = Path("/proc")) -> None:
        """Write into `folder`; removes what an earlier start left there."""
        self._folder, self._node, self._proc = folder, node, proc
        self._threads: dict[int, _Thread] = {}
        self._at: float | None = None
        self._written: dict[int, str] = {}
        self._not_before = 0.0
        self._remove()

    def update(self, ranks: Mapping[int, RankTimes], wall: float, mono: float) -> None:
        """Take a reading at `wall` and `mono` seconds. Never raises."""
        passed = 0.0 if self._at is None else mono - self._at
        for pid in self._threads.keys() - ranks.keys():
            del self._threads[pid]
        for pid, now in ranks.items():
            thread = self._threads.get(pid)
            if thread is None:
                self._threads[pid] = _Thread(now, None, mono)
                continue
            last, thread.last = thread.last, now
            if last.letter != now.letter:
                thread.letter_since = mono
            wanted = now.ran_s - last.ran_s + now.queued_s - last.queued_s
            if wanted > AWAKE * passed:
                thread.quiet_since = None
            elif thread.quiet_since is None:
                thread.quiet_since = self._at
        self._at = mono
        states = {pid: _state(thread, mono) for pid, thread in self._threads.items()}
        if states != self._written and mono >= self._not_before:
            self._not_before = mono + PAUSE_S
            self._write(states, wall, mono)

    def _write(self, states: Mapping[int, str], wall: float, mono: float) -> None:
        ranks = tuple(self._rank(pid, states[pid], wall - mono) for pid in sorted(states))
        try:
            write_rank_states(self._folder, self._node, RankStates(round(wall, 3), ranks))
            self._written = dict(states)
        except OSError:  # better none than one that is no longer true
            self._written = {}
            self._remove()

    def _rank(self, pid: int, state: str, mono_to_wall: float) -> RankState:
        thread = self._threads[pid]
        since = thread.quiet_since
        if state in (BLOCKED, STOPPED):
            since = thread.letter_since
        return RankState(
            pid,
            state,
            thread.last.rank,
            thread.last.local_rank,
            None if state == RUNNING or since is None else round(since + mono_to_wall, 3),
            "" if state in (RUNNING, STOPPED) else waits_in(self._proc / str(pid)),
        )

    def _remove(self) -> None:
        with suppress(OSError):
            remove_rank_states(self._folder, self._node)


def waits_in(process: Path, machine: str | None = None) -> str:
    """Return the kernel's function in which a main thread sleeps, or else its system call.

    '' where the kernel tells neither. `process`: its folder in /proc; `machine`: as uname names it.
    """
    with suppress(OSError):
        function = (process / "wchan").read_bytes().decode(errors="replace").strip()
        if function not in ("", "0"):
            return function
    with suppress(OSError, ValueError, IndexError):
        number = int((process / "syscall").read_bytes().split()[0])
        return _CALLS.get(machine or os.uname().machine, {}).get(number, "")
    return ""


def _state(thread: _Thread, mono: float) -> str:
    if thread.quiet_since is None or mono - thread.quiet_since < SETTLED_S:
        return RUNNING
    known = _LETTERS.get(thread.last.letter)
    return known if known and mono - thread.letter_since >= SETTLED_S else SLEEPING
