"""A process of its own for one case, held to its limits: time, memory, and what it may do."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_SECONDS = 300.0
"""Of a whole case: what hangs waits for ever, and a busy machine is slow."""
MAX_CPU_SECONDS = 20
MAX_BYTES = 1 << 30
MAX_ADDRESSES = 6 << 30
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod",
           "os.truncate", "shutil.rmtree"}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one case came to."""

    found: list[str]
    """What went wrong."""
    peak_bytes: int
    """Resident memory of the process at its most; 0 where it did not come to its end."""


class Child:
    """What the process writes down for its parent."""

    def __init__(self, writing: int) -> None:
        self._writing = writing
        self._now = ""

    def begin(self, call: str) -> None:
        """Name the call that follows."""
        self._now = call
        self.note("")

    def note(self, text: str) -> None:
        """Write down what went wrong."""
        line = json.dumps([self._now, text[:600]])
        os.write(self._writing, line.encode() + b"\n")

    def peak(self, size: int) -> None:
        """Write down the most memory that was in use."""
        os.write(self._writing, json.dumps(["", size]).encode() + b"\n")


def in_child(place: Path, work: Callable[[Child], None], max_bytes: int = MAX_BYTES) -> Outcome:
    """Do work in a process of its own, which may write below `place` alone.

    Needs a process without other threads.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        code = 1
        try:
            _confined(place, work, Child(writing), max_bytes)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    return _watch(pid, reading)


def _confined(place: Path, work: Callable[[Child], None], child: Child, max_bytes: int) -> None:
    sys.dont_write_bytecode = True  # what Python keeps of its modules is no file of a command
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESSES, MAX_ADDRESSES))
    sys.addaudithook(lambda event, arguments: _check_event(event, arguments, place, child.note))
    work(child)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    child.peak(used)
    if used > max_bytes:
        child.note(f"took {used >> 20} MiB")


def _watch(pid: int, reading: int) -> Outcome:
    """Wait for the process; names the call at work where it hangs."""
    written = b""
    deadline = time.monotonic() + MAX_SECONDS
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(reading, 1 << 16) if ready else b""
        if not piece:
            break
        written += piece
    late = time.monotonic() >= deadline
    if late:
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    messages = [json.loads(line) for line in written.splitlines()]
    peaks = [text for _, text in messages if isinstance(text, int)]
    messages = [(call, text) for call, text in messages if isinstance(text, str)]
    last = messages[-1][0] if messages else ""
    found = [f"{text} in {call}" for call, text in messages if text]
    if late:
        found.append(f"hangs in {last}")
    elif status != 0:
        found.append(f"ended with status {status} in {last}")
    return Outcome(found, max(peaks, default=0))


def _check_event(
    event: str, arguments: tuple[Any, ...], place: Path, note: Callable[[str], None]
) -> None:
    """Write down what a reader must not do: write elsewhere, start a program, send a signal."""
    if event == "open":
        mode, flags = arguments[1], arguments[2] or 0
        if not (flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or (mode or "r")[0] in "wax"):
            return
    elif event in {"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"}:
        note(f"starts {arguments[0]!r}")
        return
    elif event == "os.kill":
        note(f"sends signal {arguments[1]} to {arguments[0]}")
        return
    elif event not in CHANGES:
        return
    path = arguments[0]
    if isinstance(path, int):
        return
    real = os.path.realpath(Path(os.fsdecode(path)).parent)
    if not f"{real}/".startswith(f"{place}/") and os.fsdecode(path) != os.devnull:
        note(f"{event} of {path!r}")
