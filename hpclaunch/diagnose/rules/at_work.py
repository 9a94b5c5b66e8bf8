"""Runs at work: training, in a phase beside the steps, suspended, or hanging."""

from __future__ import annotations

from shlex import quote

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.rules.no_failure import failed_before
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.units import count, duration


def hang(evidence: RunEvidence) -> Cause | None:
    """It runs, but has shown no sign of progress for too long."""
    now = evidence.activity
    if evidence.state != "running" or now is None or not now.hang:
        return None
    done = evidence.progress
    reached = f"; it came to step {count(done.step)} of {count(done.total)}" if done.step else ""
    return Cause(
        now.hang + reached,
        (
            f"where the ranks stand (pip install py-spy): {_dump(evidence.record.job_id)}",
            f"what they last said: {advice.logs(evidence)} -f",
            f"to end it: hpclaunch cancel {quote(evidence.record.name)}, then "
            f"{advice.resume(evidence)}",
        ),
        tuple(Clue(line) for line in now.ranks),
    )


def suspended(evidence: RunEvidence) -> Cause | None:
    """Slurm has stopped it for a while, with its processes where they were."""
    now = evidence.activity
    if evidence.state != "running" or now is None or not now.suspended:
        return None
    job = evidence.record.job_id
    return Cause(
        "suspended by Slurm: its processes stand still, and go on when Slurm resumes the job",
        (f"who may: scontrol resume {job}; another job may have taken its nodes for a while",),
    )


def running(evidence: RunEvidence) -> Cause | None:
    """It is at work."""
    if evidence.state != "running":
        return None
    done, now = evidence.progress, evidence.activity
    headline = "running"
    if done.step is not None and done.total:
        headline += f": step {done.step} of {done.total}"
        if now is None or now.steps_come:
            headline += f", {duration(done.seconds_left)} left at the current step time"
    if now is not None and now.phase:
        headline += f"{', ' if done.step is not None else ': '}{now.phase}"
        headline += f", for {duration(now.phase_s)}" if now.phase_s is not None else ""
    return Cause(headline + failed_before(evidence), (f"{advice.logs(evidence)} -f",))


def _dump(job_id: str | None) -> str:
    """Return the command that prints the stack of every rank."""
    # The brackets keep pgrep from finding the shell around it.
    each = "for p in $(pgrep -f [h]pclaunch.train); do py-spy dump --pid $p; done"
    if job_id is None:
        return each
    return f"srun --jobid {job_id} --overlap --ntasks-per-node=1 bash -c '{each}'"
