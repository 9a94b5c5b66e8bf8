"""Runs that have not failed: waiting, at work, done, stopped, or only written."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.evidence import Evidence
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.reasons import explain
from hpclaunch.diagnose.rules import advice
from hpclaunch.run.events import newest
from hpclaunch.units import duration

SILENT = 900.0
"""Seconds without a mark from which a running training is called silent; or ten steps."""


def written(e: Evidence) -> Cause | None:
    """It was never submitted."""
    if e.state != "written":
        return None
    step = f"sbatch {quote(str(e.folder.script))}"
    return Cause("written", "it was written, and never submitted", (step,))


def queued(e: Evidence) -> Cause | None:
    """It waits in Slurm's queue."""
    if e.state != "queued":
        return None
    job = e.record.job_id or ""
    meaning, step = explain(e.reason, e.record.name, job)
    named = f" ({e.reason})" if e.reason else ""
    steps = [step] if step else []
    steps.append(f"when it may start: squeue --start --jobs {job}")
    return Cause("queued", f"waiting in the queue: {meaning}{named}", tuple(steps))


def running(e: Evidence) -> Cause | None:
    """It is at work; or it has been silent for long."""
    if e.state != "running":
        return None
    done = e.progress
    last = e.marks[-1].get("time") if e.marks else None
    silent = time.time() - last if isinstance(last, int | float) else 0.0
    patience = max(SILENT, 10 * (done.seconds_per_step or 0))
    follow = advice.logs(e) + " -f"
    if patience < silent < 1e9:
        headline = f"running, but silent for {duration(silent)}"
        headline += f", a step took {duration(done.seconds_per_step)}" if done.step else ""
        steps = (follow, f"what the ranks do: py-spy dump on a node; hpclaunch report {_name(e)}")
        return Cause("silent", headline, steps)
    headline = "running"
    if done.step is not None and done.total:
        headline += f": step {done.step} of {done.total}, {duration(done.seconds_left)} left at \
this pace"
    return Cause("running", headline + _failed_before(e), (follow,))


def done(e: Evidence) -> Cause | None:
    """It has finished."""
    if e.state != "done":
        return None
    final = f"; weights in {e.folder.final}" if e.folder.final.is_dir() else ""
    before = _failed_before(e) or ": nothing failed"
    return Cause("done", f"done{before}{final}", (f"hpclaunch report {_name(e)}",))


def stopped(e: Evidence) -> Cause | None:
    """It was asked to save and stop, and did."""
    if e.state != "stopped":
        return None
    mark = newest([dict(mark) for mark in e.marks], "stop") or {}
    step, why = mark.get("step"), mark.get("why")
    headline = "stopped in order" + (f" after step {step}" if isinstance(step, int) else "")
    headline += f": {why}" if isinstance(why, str) else ""
    return Cause("stopped", headline, (advice.resume(e),))


def unknown_state(e: Evidence) -> Cause | None:
    """Neither Slurm nor the folder says what became of it."""
    if e.state != "unknown" or e.ranks or e.log.signs:
        return None
    return Cause("unknown", f"not known: {e.reason}", (advice.logs(e),), e.log.last[-4:])


def local_killed(e: Evidence) -> Cause | None:
    """A local run's script is gone without an exit code: it was killed, or the machine was off."""
    if e.state != "failed" or e.record.mode != "local" or e.code is not None or e.ranks:
        return None
    headline = "its script was killed, or the machine went off: it left no exit code"
    return Cause("killed", headline, (advice.resume(e),), e.log.last[-4:])


def notes(e: Evidence) -> tuple[str, ...]:
    """Return what is worth knowing beside the cause."""
    found = []
    if e.sidecar:
        first: Clue = e.sidecar[0]
        place = f" ({Path(first.file).name})" if first.file else ""
        found.append(f"sampling failed, which costs the record alone: {first.text}{place}")
    return tuple(found)


def _failed_before(e: Evidence) -> str:
    """Tell of starts that failed and were followed by others; '' where none did."""
    failed = [mark for mark in e.marks if mark["event"] == "failure"]
    if not failed:
        return ""
    starts = "a start" if len(failed) == 1 else f"{len(failed)} starts"
    why = failed[-1].get("why")
    last = f", {'the last ' * (len(failed) > 1)}{tidy(why)}" if isinstance(why, str) else ""
    return f"; {starts} failed before{last}"


def _name(e: Evidence) -> str:
    return e.record.name
