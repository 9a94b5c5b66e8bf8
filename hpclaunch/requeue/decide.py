"""Back into the queue from inside a job, and around the nodes that failed twice."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from hpclaunch.diagnose import faulty_nodes
from hpclaunch.diagnose.last_attempt import end_recorded, last_failure
from hpclaunch.run.events import log_event, read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.slurm import requeue
from hpclaunch.slurm.commands import job_fields

REQUEUE_TIMEOUT = 300.0
"""Seconds to wait for Slurm to end a job that it has requeued."""


def failed(folder: RunFolder, record: Record, code: int | None) -> None:
    """Log as an event why this attempt failed, and on which node."""
    found = last_failure(folder, record, code=code)
    log_event(folder.events, "failure", kind=found.kind, node=found.host, why=found.line)


def go_back(folder: RunFolder, record: Record, job: str) -> int:
    """Requeue the job this runs in; returns 1 where Slurm refuses, else not for some minutes.

    Which nodes a job leaves out can be changed only while it waits: at once after the requeue,
    before Slurm has ended this process.
    """
    out = _to_leave_out(folder, record, job)
    before = job_fields(job).get("ExcNodeList", "") if out else ""
    if not requeue.requeue(job):
        return 1
    if out:
        listed = [name for name in (before, *out) if name not in {"", "(null)"}]
        done = requeue.leave_out(job, listed)
        log_event(folder.events, "left out" if done else "kept", job=job, nodes=list(out))
        _say(
            f"{_named(out)} failed twice: left out from here on"
            if done
            else f"{_named(out)} failed twice, but Slurm does not let the job leave it out"
        )
    time.sleep(REQUEUE_TIMEOUT)
    return 1


def again(folder: RunFolder, record: Record, job: str, nodes: Sequence[str]) -> int:
    """Log why the attempt before this one ended, where it could not do so itself.

    One whose node was lost could not: Slurm itself requeued it. Where a node that failed twice is
    among those of this attempt, the job is requeued once more, without it. Returns 0: go on.
    """
    marks = read_events(folder.events)
    if not end_recorded(marks):
        found = last_failure(folder, record)
        lost = [node for node in folder.node_names() if node in requeue.nodes_down()]
        if found.kind == "node-failure" or lost:
            for name in [found.host] if found.host and found.kind == "node-failure" else lost:
                why = f"{name} failed, or Slurm lost touch with it"
                log_event(folder.events, "failure", kind="node-failure", node=name, why=why)
        else:
            log_event(folder.events, "failure", kind=found.kind, node=found.host, why=found.line)
    if set(_to_leave_out(folder, record, job)) & set(nodes):
        go_back(folder, record, job)
    return 0


def _to_leave_out(folder: RunFolder, record: Record, job: str) -> tuple[str, ...]:
    """Return the nodes to leave out that are not yet, none where the rest would be too few."""
    marks = read_events(folder.events)
    known = {*faulty_nodes.left_out(marks, job), *faulty_nodes.kept(marks, job)}
    new = tuple(node for node in faulty_nodes.failed_twice(marks) if node not in known)
    if not new:
        return ()
    out = [*faulty_nodes.left_out(marks, job), *new]
    words = requeue.test_without(folder.script.read_text(encoding="utf-8"), folder.root, out)
    if words is None:
        return new
    log_event(folder.events, "kept", job=job, nodes=list(new))
    _say(f"{_named(new)} failed twice, but the job cannot run without it: {words}")
    return ()


def _named(nodes: Sequence[str]) -> str:
    return " and ".join(nodes)


def _say(text: str) -> None:
    print(f"hpclaunch: {text}", file=sys.stderr, flush=True)
