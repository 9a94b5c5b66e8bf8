"""Reading a program's `events.jsonl`; what is damaged in it is counted and said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        data = path.read_bytes()
    except FileNotFoundError:
        return EventFile()
    except OSError as error:
        text = f"{path.name} cannot be read: {error.strerror}: steps and checkpoints are unknown"
        return EventFile(problems=(text,))
    *lines, tail = data.decode("utf-8", errors="replace").split("\n")
    events, bad = [], []
    for number, line in enumerate(lines, start=1):
        event = _event(line)
        if event is not None:
            events.append(event)
        elif line.strip():
            bad.append(number)
    problems = []
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


def _event(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None
