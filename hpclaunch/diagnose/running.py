"""The activity of a run that runs, read from its folder, its samples and Slurm."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpclaunch.diagnose.activity import Activity, activity
from hpclaunch.diagnose.metrics import SUFFIX
from hpclaunch.diagnose.state import Status
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.phase import read_phase
from hpclaunch.run.record import Record
from monitors.storage.live import Live, NodeNow

FRESH_S = 10.0
"""Seconds for which a sample, or a file, counts as written just now."""
MOST_NODES = 4096
"""Nodes whose ranks' main threads are looked at."""
SUSPENDED = "SUSPENDED"
"""Slurm's state of a job that it has stopped for a while."""
OWN_PROGRAM = "a program of your own: its steps are unknown"
_SKEW_S = 5.0
"""Seconds by which two clocks may differ without one of them counting as wrong."""


def running_activity(
    folder: RunFolder,
    record: Record,
    status: Status,
    events: Sequence[dict[str, Any]] | None = None,
    nodes: Sequence[NodeNow] | None = None,
    resumed_at: float | None = None,
    now: float | None = None,
) -> Activity | None:
    """Return what a run does; None where it does not run.

    `events`, `nodes`: as read already; `resumed_at`: when Slurm let the job go on (Unix seconds),
    as `resumed` returns it; `now`: Unix seconds on this machine.
    """
    if status.state != "running":
        return None
    now = time.time() if now is None else now
    events = read_events(folder.events) if events is None else events
    phase = read_phase(folder)
    if record.program and phase is None and not any(e["event"] == "step" for e in events):
        return Activity(phase=OWN_PROGRAM, suspended=status.slurm == SUSPENDED)
    hosts, every = folder.node_names(), nodes
    if nodes is None:  # for the clock the first node's samples are enough
        nodes = Live(folder.metrics, hosts[:1] or None).refresh(now)
    there = now + clock_ahead(folder, events, nodes, hosts, now)
    found = activity(events, phase, there, status.progress.seconds_per_step, resumed_at)
    if status.slurm == SUSPENDED:
        return replace(found, suspended=True, hang="", phase="suspended by Slurm")
    if not found.hang:
        return found
    from hpclaunch.diagnose.rank_activity import rank_lines
    from monitors.storage.rank_states import read_rank_states

    every = Live(folder.metrics).refresh(now) if every is None else every
    states = {
        node.node: known
        for node in every[:MOST_NODES]
        if node.current and (known := read_rank_states(folder.metrics, node.node))
    }
    lines = rank_lines(every, hosts, record.processes_per_node, states)
    return replace(found, ranks=lines)


def resumed(record: Record) -> float | None:
    """Return when Slurm last let this job go on, in Unix seconds; None if it never was suspended.

    Takes as long as Slurm takes to answer.
    """
    if record.job_id is None:
        return None
    from hpclaunch.slurm.jobs import job_fields

    text = job_fields(record.job_id).get("SuspendTime", "")
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except (ValueError, OverflowError):  # `None`, of a job that never was
        return None


def clock_ahead(
    folder: RunFolder,
    events: Sequence[dict[str, Any]],
    nodes: Sequence[NodeNow],
    hosts: Sequence[str],
    now: float,
) -> float:
    """Return the seconds by which the first node's clock is ahead of this machine's; 0 if unknown.

    Its newest sample bears the time of its clock, and so do the events.
    """
    first = hosts[0] if hosts else (nodes[0].node if len(nodes) == 1 else None)
    head = next((node for node in nodes if node.node == first and node.newest), None)
    if head is not None and head.newest is not None and head.end is None:
        behind = now - head.newest.tick.wall
        age = head.age_s if head.age_s is not None else max(0.0, behind)
        written = _modified(folder.metrics / f"{head.node}{SUFFIX}")
        fresh_s = max(FRESH_S, 2 * head.interval_s)
        if age > fresh_s and written is not None and abs(now - written) < fresh_s:
            age = 0.0  # written just now, whatever its clock says
        return age - behind
    # Without samples: an event that seems to be of the future was written when its file was.
    last, written = events[-1].get("time") if events else None, _modified(folder.events)
    if isinstance(last, int | float) and written is not None and now + _SKEW_S < last < 1e11:
        return last - written
    return 0.0


def _modified(path: Path) -> float | None:
    with suppress(OSError):
        return path.stat().st_mtime
    return None
