"""Reading a program's `events.jsonl`; what is damaged in it is counted and said."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitors.regular_file import open_regular

MAX_BYTES = 1 << 26
"""Of the file, as far as it is read: some 400,000 steps."""
MAX_LINE = 1 << 20
"""Bytes of an event: one names the nodes of a job, at most."""
MAX_NESTED = 64
"""Lists and objects in an event: it has one or two, and more of them fill the memory."""


@dataclass(frozen=True)
class EventFile:
    """What such a file holds."""

    events: tuple[dict[str, Any], ...] = ()
    """As `monitors.analysis.events` understands them."""
    problems: tuple[str, ...] = ()
    """What cannot be read, a sentence each."""


def read_event_file(path: Path) -> EventFile:
    """Return the events of a file; a missing one has none. Never raises for what a file holds."""
    try:
        data, whole = _read(path)
    except FileNotFoundError:
        return EventFile()
    except OSError as error:
        text = f"{path.name} cannot be read: {error.strerror}: steps and checkpoints are unknown"
        return EventFile(problems=(text,))
    *lines, tail = data.split(b"\n")
    events, bad = [], []
    for number, line in enumerate(lines, start=1):
        event = _event(line)
        if event is not None:
            events.append(event)
        elif line.strip():
            bad.append(number)
    problems = []
    if not whole:
        problems.append(
            f"{path.name} has more than {MAX_BYTES >> 20} MiB: only its end is read, and steps and "
            "checkpoints before it are missing here"
        )
    if bad:
        problems.append(
            f"{path.name} is damaged: {len(bad)} of {len(lines)} lines cannot be read, the first "
            f"is line {bad[0]}; steps and checkpoints may be missing here"
        )
    if tail.strip():
        last = _event(tail)
        if last is None:
            problems.append(f"{path.name}: the last line is cut off")
        else:
            events.append(last)
    return EventFile(tuple(events), tuple(problems))


def _read(path: Path) -> tuple[bytes, bool]:
    """Return the last bytes of a file from a line's beginning on, and whether that is all of it."""
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_BYTES))
        data = file.read(MAX_BYTES)
    return (data, True) if size <= MAX_BYTES else (data.partition(b"\n")[2], False)


def _event(line: bytes) -> dict[str, Any] | None:
    if len(line) > MAX_LINE or line.count(b"[") + line.count(b"{") > MAX_NESTED:
        return None
    try:
        value = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None
