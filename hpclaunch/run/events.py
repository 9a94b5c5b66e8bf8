"""Events that rank 0 logs while it works: one JSON object a line, appended.

Every event has `time` (Unix seconds) and `event`. The kinds:

| event | fields |
|---|---|
| start | world, device, hpclaunch, attempt (JOB.RESTARTS, '' without Slurm) |
| load | seconds, parameters, trainable (both counted over all ranks) |
| data | samples, rows (fewer where samples are packed), tokens (all of one epoch), seconds, |
| | columns_left_out (of the training data, not used); of the samples read: lost (no token to |
| | learn from within max_length), cut (lose a part of their answer), needed_length (tokens that |
| | keep 99% of them whole); sources: of each dataset name, split, weight, rows, samples and |
| | tokens of an epoch, validation (rows held out), sha256 (of the tokens of its samples) |
| step | step, total, loss, learning_rate; since the last: seconds, tokens (all ranks, unpadded), |
| | waited (seconds that rank 0 waited for its batches); metrics (the objective's own by TRL's |
| | names, such as rewards/margins, rewards/accuracies, kl; missing where it has none) |
| eval | step, loss; metrics, as of a step |
| memory | allocated, reserved (bytes of the fullest GPU, peak of this attempt's steps), |
| | loading_allocated (bytes, peak before the first step; missing in older runs) |
| checkpoint | step, seconds (until in place), stalled (seconds training waited), bytes, path |
| best | step, eval_loss (`checkpoints.best`: this checkpoint has the lowest so far) |
| evaluation | checkpoint, run, job (an evaluation of that checkpoint was submitted) |
| evaluation failed | checkpoint, why (it was not) |
| best submitted | run, job (the job that takes the checkpoint with the best score of a task) |
| best failed | why (it was not submitted) |
| checkpoint failed | step, why |
| checkpoint damaged | path, why (seen when resuming) |
| synced | name, step (None for the final weights), seconds, bytes, url |
| sync failed | name, why (once, until something arrives again) |
| stop | step, why |
| failure | kind, node, why (of an attempt that is followed by another) |
| left out | job, nodes (failed twice; Slurm gives them to this job no more) |
| kept | job, nodes (failed twice, but the job cannot do without) |
| end | step, seconds, outcome (done, stopped), final; with `checkpoints.best` final_step |
| | (whose weights are final) and its eval_loss |
"""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

from hpclaunch.run.regular_file import create_regular, lines_of, open_regular, read_end

MAX_BYTES = 1 << 26
"""Of events.jsonl, as far as they are read at once: some 400,000 steps."""
MAX_LINE = 1 << 20
"""Bytes of an event: one names the nodes of a job, at most."""
MAX_NESTED = 64
"""Lists and objects in an event: it has one or two, and more of them fill the memory."""


def is_full(error: OSError) -> bool:
    """Return whether a disk, or somebody's share of it, was full."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def log_event(path: Path, event: str, /, **fields: Any) -> None:
    """Append one event. One write of one line: a reader sees it whole or not at all.

    Where the disk is full it is lost: that is no reason for the run to end.
    """
    line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}) + "\n"
    try:
        _append(path, line)
    except OSError as error:
        if not is_full(error):
            raise


def _append(path: Path, line: str) -> None:
    with os.fdopen(create_regular(path, os.O_RDWR | os.O_APPEND), "ab+") as stream:
        # A writer that was killed may have left half a line: this one must not become its tail.
        if stream.seek(0, os.SEEK_END) > 0:
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else f"\n{line}"
        stream.write(line.encode())


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events so far; a torn last line or a missing file gives what there is.

    Of a file larger than `MAX_BYTES` the last of them.
    """
    return read_last_events(path, MAX_BYTES)


def read_last_events(
    path: Path, most: int = 1 << 16, kind: str | None = None
) -> list[dict[str, Any]]:
    """Return the events in the last `most` bytes of the file, as `read_events` does all of them.

    `kind`: of this kind alone, which is faster.
    """
    try:
        data, whole = read_end(path, most)
    except OSError:
        return []
    text = data if whole else data.partition(b"\n")[2]
    if kind is None:
        return _parse(text)
    name = f'"{kind}"'.encode()
    found = _parse(b"\n".join(line for line in text.split(b"\n") if name in line))
    return [event for event in found if event["event"] == kind]


def read_counted_events(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the events as `read_events` does, and how many lines before the last are damaged."""
    try:
        data, whole = read_end(path, MAX_BYTES)
    except OSError:
        return [], 0
    text = data if whole else data.partition(b"\n")[2]
    lines, _, tail = text.rpartition(b"\n")
    events = _parse(lines)
    damaged = sum(1 for line in lines.split(b"\n") if line.strip()) - len(events)
    return events + _parse(tail), damaged


def attempt_spans(path: Path) -> list[tuple[float, float]]:
    """Return the Unix seconds of the first and the last event of each attempt.

    Lines between them are not parsed: the file of a long run has hundreds of thousands.
    """
    spans: list[tuple[float, float]] = []
    first: float | None = None
    before = b""
    try:
        with open_regular(path) as stream:
            for line in lines_of(stream):
                if b'"event": "start"' in line:
                    _close(spans, first, before)
                    first = _time(line)
                if line.endswith(b"\n"):
                    before = line
    except OSError:
        return []
    _close(spans, first, before)
    return spans


def _close(spans: list[tuple[float, float]], first: float | None, last_line: bytes) -> None:
    last = _time(last_line)
    if first is not None and last is not None and first <= last:
        spans.append((first, last))


def _time(line: bytes) -> float | None:
    """Return when an event was, in Unix seconds; None for a line that is none."""
    events = _parse(line)
    time_s = events[0].get("time") if events else None
    return float(time_s) if isinstance(time_s, int | float) else None


def _parse(text: bytes) -> list[dict[str, Any]]:
    events = []
    for line in text.split(b"\n"):
        if len(line) > MAX_LINE or line.count(b"[") + line.count(b"{") > MAX_NESTED:
            continue
        try:
            value = json.loads(line.decode(errors="replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and isinstance(value.get("event"), str):
            events.append(value)
    return events


def newest(events: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """Return the last event of one kind, if any."""
    return next((event for event in reversed(events) if event["event"] == kind), None)
