"""Ends that Slurm, a person or a node made: they outrank whatever the ranks say of them."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.evidence import Evidence
from hpclaunch.diagnose.rules import advice

_NODE = re.compile(r"Node failure on (\S+)|error: (\S+): .*Communication connection failure")
NO_LOG = 128 + 53
"""Exit code of a job whose log Slurm could not open: it ends it with signal 53."""


def cancelled(e: Evidence) -> Cause | None:
    """A person ended it, with `hpclaunch cancel` or Slurm's own scancel."""
    lines = e.hits("cancelled")[:2]
    # Where Slurm has forgotten the job, its line in the log is all there is.
    forgotten = e.state == "failed" and not e.slurm and lines and not e.explained
    if e.state != "cancelled" and not forgotten:
        return None
    if e.cancelled is not None:
        headline = f"cancelled by {e.cancelled or 'a person'}"
    else:
        told = f": {e.reason}" if e.reason else ""
        headline = f"cancelled in Slurm, by scancel or an administrator{told}"
    return Cause("cancelled", headline, (advice.resume(e),), lines)


def time_limit(e: Evidence) -> Cause | None:
    """Slurm ended it at its time limit."""
    if e.state != "timed out" and not (e.state == "failed" and e.hits("time_limit")):
        return None
    done = e.progress
    headline = "Slurm ended the job at its time limit"
    if done.step is not None and done.total:
        headline += f", at step {done.step} of {done.total}"
        headline += f"; newest checkpoint: step {done.checkpoint}" if done.checkpoint else ""
    steps = []
    if done.checkpoint is None and not e.record.program:
        steps.append("nothing was saved: set checkpoints.every_steps lower, or ask for more --time")
    return Cause(
        "time-limit",
        headline,
        (advice.resume(e), advice.resume(e, "--time", "HH:MM:SS"), *steps),
        e.hits("time_limit")[:2],
    )


def preempted(e: Evidence) -> Cause | None:
    """Slurm took the nodes for a job of higher priority."""
    ended = e.slurm == "PREEMPTED"
    if not ended and (e.state == "done" or not e.hits("preempted")):
        return None
    return Cause(
        "preempted",
        "Slurm took the nodes away for a job of higher priority",
        (advice.resume(e), "a --qos or --partition that is not preempted avoids it"),
        e.hits("preempted")[:2],
    )


def node_failure(e: Evidence) -> Cause | None:
    """A node died, or Slurm lost touch with it."""
    lines = e.hits("node_failure")
    if e.slurm not in {"NODE_FAIL", "BOOT_FAIL"} and not lines:
        return None
    named = (match for clue in lines if (match := _NODE.search(clue.text)))
    nodes = sorted({match.group(1) or match.group(2) for match in named})
    node = nodes[0] if len(nodes) == 1 else None
    which = {0: "a node of the job", 1: "the node"}.get(len(nodes), f"nodes {', '.join(nodes)}")
    headline = f"{which} failed, or Slurm lost touch with it"
    if e.slurm == "BOOT_FAIL":
        headline = "a node of the job did not start up"
    steps = [advice.resume(e)]
    if nodes:
        steps.append(f"what Slurm says of it: scontrol show node {nodes[0]}")
        steps.append("tell your site's support if it fails again")
    return Cause("node-failure", headline, tuple(steps), lines[:4], host=node)


def no_log(e: Evidence) -> Cause | None:
    """Slurm could not write the job's log: the folder is not there on the node."""
    if e.code != NO_LOG or e.log.file is not None:
        return None
    return Cause(
        "not-shared",
        f"Slurm could not open the job's log on the node: {e.folder.root} is not there",
        ("use a folder that all nodes see: --runs-dir FOLDER, or HPCLAUNCH_RUNS_DIR",),
    )
