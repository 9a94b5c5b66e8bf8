"""Ends that Slurm, a person or a node made: they come before whatever the ranks print."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_NODE = re.compile(r"Node failure on (\S+)|error: (\S+): .*Communication connection failure")
_STEPD = re.compile(r"slurmstepd-(\S+?): error")
_NOT_LAUNCHED = re.compile(r"Task launch for \S+ failed on node (\S+): (.+)")
_LAUNCH_STEPS = (
    (re.compile(r"redential|ncorrect permissions"),
     "the clock of {node} may differ from the controller's (chronyc tracking, date on both), or "
     "its munged does not run"),
    (re.compile(r"[Pp]rolog"), "the site's prolog found the node unfit: scontrol show node {node}"),
    (re.compile(r"layout tasks|cpu bind|Requested node config"),
     "srun's --cpu-bind, --cpus-per-task and --ntasks do not fit the CPUs that the job has there"),
    (re.compile(r"not exist|hdir|No such file"),
     "a folder that the step starts in is not there on {node}: it must be on shared storage"),
)  # fmt: skip
"""What to do where a node did not start a step, by Slurm's reason."""
NO_LOG = 128 + 53
"""Exit code of a job whose log Slurm could not open: it ends it with signal 53."""


def cancelled(evidence: RunEvidence) -> Cause | None:
    """A person ended it, with `hpclaunch cancel` or Slurm's own scancel."""
    lines = evidence.matching_lines("cancelled")[:2]
    # Where Slurm has forgotten the job, its line in the log is all there is.
    forgotten = (
        evidence.state == "failed" and not evidence.slurm and lines and not evidence.explained
    )
    if evidence.state != "cancelled" and not (forgotten and lines and not evidence.explained):
        return None
    if evidence.cancelled is not None:
        headline = f"cancelled by {evidence.cancelled or 'a person'}"
    else:
        reason = f": {evidence.reason}" if evidence.reason else ""
        headline = f"cancelled in Slurm, by scancel or an administrator{reason}"
    return Cause(headline, (advice.resume(evidence),), lines)


def time_limit(evidence: RunEvidence) -> Cause | None:
    """Slurm ended it at its time limit."""
    lines = evidence.matching_lines("time_limit")
    if evidence.state != "timed out" and not (evidence.state == "failed" and lines):
        return None
    done = evidence.progress
    headline = "Slurm ended the job at its time limit"
    if done.step is not None and done.total:
        headline += f", at step {done.step} of {done.total}"
        headline += f"; newest checkpoint: step {done.checkpoint}" if done.checkpoint else ""
    steps = []
    waited = evidence.matching_lines("step_waited")[-1:]
    if waited and not evidence.ranks and done.step is None and evidence.log.is_at_end(waited[0]):
        headline += ": srun waited until then for what other steps of the job hold"
        steps.append("srun within srun, or beside another step: --overlap, or srun --exact with "
                     "fewer tasks, CPUs, GPUs and memory than the job has")  # fmt: skip
        return Cause(headline, (*steps, advice.resume(evidence)), (*waited, *lines[:2]))
    if done.checkpoint is None and not evidence.record.program:
        steps.append("nothing was saved: set checkpoints.every_steps lower, or ask for more --time")
    words = advice.longer(evidence)
    longer = advice.resume(evidence, *words) if words else "or with a longer --time"
    return Cause(
        headline,
        (advice.resume(evidence), longer, *steps),
        lines[:2],
    )


def preempted(evidence: RunEvidence) -> Cause | None:
    """Slurm took the nodes for a job of higher priority."""
    ended = evidence.slurm == "PREEMPTED"
    if not ended and (evidence.state == "done" or not evidence.matching_lines("preempted")):
        return None
    return Cause(
        "Slurm took the nodes away for a job of higher priority",
        (advice.resume(evidence), "a --qos or --partition that is not preempted avoids it"),
        evidence.matching_lines("preempted")[:2],
    )


def node_failure(evidence: RunEvidence) -> Cause | None:
    """A node died, or Slurm lost touch with it."""
    lines = evidence.matching_lines("node_failure")
    if evidence.slurm not in {"NODE_FAIL", "BOOT_FAIL"} and not lines:
        return None
    named = (match for clue in lines if (match := _NODE.search(clue.text)))
    nodes = sorted({match.group(1) or match.group(2) for match in named})
    node = nodes[0] if len(nodes) == 1 else None
    which = {0: "a node of the job", 1: "the node"}.get(len(nodes), f"nodes {', '.join(nodes)}")
    headline = f"{which} failed, or Slurm lost touch with it"
    if evidence.slurm == "BOOT_FAIL":
        headline = "a node of the job did not start up"
    steps = [advice.resume(evidence)]
    if nodes:
        steps.append(f"what Slurm says of it: scontrol show node {advice.word(nodes[0])}")
        steps.append("tell your site's support if it fails again")
    return Cause(headline, tuple(steps), lines[:4], host=node)


def not_launched(evidence: RunEvidence) -> Cause | None:
    """A node's slurmd did not start the tasks of a step."""
    prepared = None if evidence.ranks else evidence.root_cause_line("not_set_up")
    if prepared is not None and evidence.progress.step is None:
        return _not_set_up(evidence, prepared)
    line = evidence.root_cause_line("not_launched")
    match = _NOT_LAUNCHED.search(line.text) if line else None
    if line is not None and "timeout waiting" in line.text:
        steps = (
            "a node did not answer in time: sinfo -R, and scontrol show node of those of the job",
            "tell your site's support if it comes again",
            advice.resume(evidence),
        )
        return Cause(f"Slurm could not start the job's tasks: {line.text}", steps, (line,))
    if line is None or match is None:
        return None
    node, why = match.groups()
    advised = (step for pattern, step in _LAUNCH_STEPS if pattern.search(why))
    steps = (
        next(advised, f"what Slurm says of it: scontrol show node {node}").format(node=node),
        "tell your site's support the node and these words",
        advice.elsewhere(evidence, node),
    )
    return Cause(
        f"Slurm could not start the job's tasks on {node}: {why}", steps, (line,), host=node
    )


def _not_set_up(evidence: RunEvidence, line: Clue) -> Cause:
    """The node failed in what it prepares for a job: cgroups, a /tmp of its own, the script."""
    named = _STEPD.search(line.text)
    host = named[1] if named else evidence.rank_and_host(line)[1]
    where = f" on {host}" if host else ""
    headline = f"Slurm could not prepare the job{where}: {line.text}"
    steps = (
        "tell your site's support the node and these words: it lies with the node",
        advice.elsewhere(evidence, host),
    )
    return Cause(headline, steps, (line,), host=host)


def no_log(evidence: RunEvidence) -> Cause | None:
    """Slurm could not write the job's log: the folder is not there on the node."""
    if evidence.code != NO_LOG or evidence.log.file is not None:
        return None
    return Cause(
        f"Slurm could not open the job's log on the node: {evidence.folder.root} is not there",
        ("use a folder that all nodes see: --runs-dir, or HPCLAUNCH_RUNS_DIR",),
    )
