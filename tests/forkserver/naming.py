"""What the kernel shows of a fork: the command line and variables of the program that it runs."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOM = "HPCLAUNCH_TEST_ROOM"
"""Variable of a fork server that does nothing but make room for the programs' own words."""
ROOM_BYTES = 100_000
"""Linux bounds an argument and a variable at 128 KiB each."""

ARG_START, ARG_END, ENV_START, ENV_END = 47, 48, 49, 50
"""Fields of /proc/self/stat, counted from 0 (proc(5) counts from 1)."""


def room() -> tuple[str, dict[str, str]]:
    """Return the last argument and a variable that a fork server is started with."""
    return "x" * ROOM_BYTES, {ROOM: "x" * ROOM_BYTES}


def name_as(words: Sequence[str], variables: Mapping[str, str]) -> None:
    """Let /proc show this process as `words` started with `variables`.

    Both are written over what the server was started with; to write elsewhere and point the kernel
    there takes a capability. Whoever looks for the trainings of a run then finds forks, too. The
    process's own variables must no longer lie there: `os.environ` has been set anew.

    Raises ValueError where the command line is longer than the server's.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end, first, last = (int(fields[n - 2]) for n in (ARG_START, ARG_END, ENV_START, ENV_END))
    _write(start, end, words)
    _write(first, last, [f"{name}={value}" for name, value in variables.items()])


def _write(start: int, end: int, texts: Sequence[str]) -> None:
    data = b"".join(text.encode(errors="surrogateescape") + b"\0" for text in texts)
    if len(data) > end - start:
        raise ValueError(f"{len(data)} bytes where {end - start} are free: {data[:200]!r}")
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, data, len(data))
