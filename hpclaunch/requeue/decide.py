"""Requeue a job from inside it, and leave out the nodes that failed twice."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from hpclaunch.diagnose import faulty_nodes
from hpclaunch.diagnose.last_attempt import end_recorded, last_failure
from hpclaunch.notify.send import notify
from hpclaunch.run.events import log_event, read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.run.regular_file import read_regular
from hpclaunch.slurm import requeue
from hpclaunch.slurm.jobs import job_fields

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
    excluded = _nodes_to_leave_out(folder, record, job)
    before = job_fields(job).get("ExcNodeList", "") if excluded else ""
    if not requeue.requeue(job):
        return 1
    if excluded:
        listed = [name for name in (before, *excluded) if name not in {"", "(null)"}]
        accepted = requeue.leave_out(job, listed)
        log_event(folder.events, "left out" if accepted else "kept", job=job, nodes=list(excluded))
        _log(
            f"{_joined(excluded)} failed twice: left out from here on"
            if accepted
            else f"{_joined(excluded)} failed twice, but Slurm does not let the job leave it out"
        )
    notify(folder, record, "requeue")
    time.sleep(REQUEUE_TIMEOUT)
    return 1


def again(folder: RunFolder, record: Record, job: str, nodes: Sequence[str]) -> int:
    """Log why the attempt before this one ended, where it could not do so itself.

    One whose node was lost could not: Slurm itself requeued it. Where a node that failed twice is
    among those of this attempt, the job is requeued once more, without it. Returns 0: go on.
    """
    events = read_events(folder.events)
    if not end_recorded(events):
        found = last_failure(folder, record)
        ours = (*folder.node_names(), *folder.server_node_names()[-1:])
        lost = [node for node in ours if node in requeue.nodes_down()]
        if found.kind == "node-failure" or lost:
            for name in [found.host] if found.host and found.kind == "node-failure" else lost:
                why = f"{name} failed, or Slurm lost touch with it"
                log_event(folder.events, "failure", kind="node-failure", node=name, why=why)
        else:
            log_event(folder.events, "failure", kind=found.kind, node=found.host, why=found.line)
    if set(_nodes_to_leave_out(folder, record, job)) & set(nodes):
        go_back(folder, record, job)
    return 0


def _nodes_to_leave_out(folder: RunFolder, record: Record, job: str) -> tuple[str, ...]:
    """Return the nodes to leave out from now on; none where the remaining ones are too few."""
    events = read_events(folder.events)
    known = {*faulty_nodes.left_out(events, job), *faulty_nodes.kept(events, job)}
    new = tuple(node for node in faulty_nodes.failed_twice(events) if node not in known)
    if not new:
        return ()
    out = [*faulty_nodes.left_out(events, job), *new]
    refusal = requeue.test_without(read_regular(folder.script, 1 << 22).decode(), folder.root, out)
    if refusal is None:
        return new
    log_event(folder.events, "kept", job=job, nodes=list(new))
    _log(f"{_joined(new)} failed twice, but the job cannot run without it: {refusal}")
    return ()


def _joined(nodes: Sequence[str]) -> str:
    return " and ".join(nodes)


def _log(text: str) -> None:
    print(f"hpclaunch: {text}", file=sys.stderr, flush=True)
