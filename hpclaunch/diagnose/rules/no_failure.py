"""Runs that have not failed: waiting, done, stopped, or only written."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.reasons import explain
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.run.events import newest


def written(evidence: RunEvidence) -> Cause | None:
    """It was never submitted."""
    if evidence.state != "written":
        return None
    step = f"sbatch {quote(str(evidence.folder.script))}"
    return Cause("it was written, and never submitted", (step,))


def queued(evidence: RunEvidence) -> Cause | None:
    """It waits in Slurm's queue."""
    if evidence.state != "queued":
        return None
    job = evidence.record.job_id or ""
    meaning, step = explain(evidence.reason, evidence.record.name, job)
    named = f" ({evidence.reason})" if evidence.reason else ""
    steps = [step] if step else []
    steps.append(f"when it may start: squeue --start --jobs {job}")
    return Cause(f"waiting in the queue: {meaning}{named}", tuple(steps))


def done(evidence: RunEvidence) -> Cause | None:
    """It has finished."""
    if evidence.state != "done":
        return None
    final = f"; weights in {evidence.folder.final}" if evidence.folder.final.is_dir() else ""
    before = failed_before(evidence) or ": nothing failed"
    return Cause(f"done{before}{final}", (f"hpclaunch report {quote(evidence.record.name)}",))


def stopped(evidence: RunEvidence) -> Cause | None:
    """It was asked to save and stop, and did."""
    if evidence.state != "stopped":
        return None
    event = newest([dict(event) for event in evidence.events], "stop") or {}
    step, why = event.get("step"), event.get("why")
    headline = "stopped in order" + (f" after step {step}" if isinstance(step, int) else "")
    headline += f": {why}" if isinstance(why, str) else ""
    return Cause(headline, (advice.resume(evidence),))


def unknown_state(evidence: RunEvidence) -> Cause | None:
    """Neither Slurm nor the folder says what became of it."""
    if evidence.state != "unknown" or evidence.ranks or evidence.log.matches:
        return None
    return Cause(f"not known: {evidence.reason}", (advice.logs(evidence),), evidence.log.last[-4:])


def local_killed(evidence: RunEvidence) -> Cause | None:
    """A local run's script is gone without an exit code: it was killed, or the machine was off."""
    if (
        evidence.state != "failed"
        or evidence.record.mode != "local"
        or evidence.code is not None
        or evidence.ranks
    ):
        return None
    headline = "its script was killed, or the machine went off: it left no exit code"
    return Cause(headline, (advice.resume(evidence),), evidence.log.last[-4:])


def notes(evidence: RunEvidence) -> tuple[str, ...]:
    """Return what is worth knowing beside the cause."""
    notes = []
    if evidence.sidecar:
        first: Clue = evidence.sidecar[0]
        place = f" ({Path(first.file).name})" if first.file else ""
        notes.append(f"sampling failed, which costs the record alone: {first.text}{place}")
    return tuple(notes)


def failed_before(evidence: RunEvidence) -> str:
    """Return how many attempts failed before and why the last did; '' where none did."""
    failed = [event for event in evidence.events if event["event"] == "failure"]
    if not failed:
        return ""
    attempts = "an attempt" if len(failed) == 1 else f"{len(failed)} attempts"
    why = failed[-1].get("why")
    last = f", {'the last ' * (len(failed) > 1)}{tidy(why)}" if isinstance(why, str) else ""
    return f"; {attempts} failed before{last}"
