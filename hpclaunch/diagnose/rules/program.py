"""What is left when nothing more telling fits: the program's own words, a signal, or nothing."""

from __future__ import annotations

import re
import signal
from dataclasses import replace

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.evidence import Evidence
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.words import RankFailure, exception_in

FRAMES = 8
"""Lines of a traceback that are shown."""
_SAID = re.compile(r"^(?:hpclaunch|sbatch|bash|srun): (?:error: )?(.*)")
_CONSEQUENCE = re.compile(
    r"^hpclaunch: (?:job \d+, start|fetching model|starting \d+ process)"
    r"|failed too|failed with code|Job step aborted|got SIGCONT|forcing job termination"
    r"|Terminating StepId|Exited with exit code|_step_signal|Job step creation|node failure"
)


def exception(e: Evidence) -> Cause | None:
    """The program raised an exception, or left an exit code of its own."""
    rank = e.culprit
    if rank is None or rank.silent or rank.follows:
        return None
    steps = [rank.fix] if rank.fix else []
    steps += [advice.logs(e, rank.rank), advice.resume(e)]
    evidence = traceback(rank) if rank.text else (e.shown(rank),)
    return Cause("exception", rank.error, tuple(steps), evidence, rank.rank, rank.host)


def killed(e: Evidence) -> Cause | None:
    """A rank was ended by a signal, and said nothing."""
    rank = e.culprit
    if rank is None or not rank.silent or rank.follows or rank.code is None:
        return None
    number = -rank.code
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    meaning = {
        "SIGKILL": "by the system where memory ran out, or by a person",
        "SIGSEGV": "it touched memory that is not its own: a fault in compiled code",
        "SIGABRT": "compiled code gave up: its last words say why",
        "SIGBUS": "most often /dev/shm or a mapped file's disk is full",
        "SIGILL": "its code is for another processor",
        "SIGFPE": "a division by zero in compiled code",
    }.get(name, "")
    headline = f"exit code {rank.code}: killed by {name}" + (f" ({meaning})" if meaning else "")
    words = tuple(Clue(text, rank.file) for text in _last_words(rank))
    step = {
        "SIGKILL": "what the kernel says on the node: dmesg -T | grep -i kill; or try more --mem",
        "SIGBUS": "df -h /dev/shm on the node; training.dataloader_num_workers=0 uses none of it",
    }.get(name, "PYTHONFAULTHANDLER=1 in the job shows where it was")
    evidence = (e.shown(rank), *words[-4:])
    steps = (step, advice.logs(e, rank.rank), advice.resume(e))
    return Cause("killed", headline, steps, evidence, rank.rank, rank.host)


def _last_words(rank: RankFailure) -> list[str]:
    lines = rank.text.decode("utf-8", errors="replace").splitlines()
    return [text for line in lines[-8:] if (text := tidy(line))]


def traceback(rank: RankFailure) -> tuple[Clue, ...]:
    """Return the end of a rank's traceback, the line of the error last."""
    lines = rank.text.decode("utf-8", errors="replace").split("\n")
    before = rank.before or 0
    stop = len(lines) if rank.line is None else min(len(lines), max(0, rank.line - before))
    kept: list[Clue] = []
    for at in range(stop, 0, -1):
        raw = re.sub(r"^\[rank\d+\]: ?", "", lines[at - 1])
        text = tidy(raw)
        if text.startswith("Traceback (most recent") or len(kept) == FRAMES:
            break
        if text and not set(text) <= set("^~ "):
            indent = "  " if raw.startswith("    ") else ""
            number = None if rank.before is None else before + at
            kept.insert(0, replace(rank.clue(), text=indent + text, line=number, node=None))
    return tuple(kept) or (rank.clue(),)


def script(e: Evidence) -> Cause | None:
    """No rank failed: the script, or what ran before the ranks, says why."""
    if e.ranks:
        return None
    found = _exception_in_log(e)
    lines = [line for line in e.hits("script") if not _CONSEQUENCE.search(line.text)]
    line = lines[-1] if lines else None
    if found is not None and (line is None or not line.text.startswith("hpclaunch: ")):
        error, clues = found
        return Cause("exception", error, (advice.logs(e), advice.resume(e)), clues)
    if line is None:
        return None
    match = _SAID.match(line.text)
    headline, _, step = (match.group(1) if match else line.text).partition("; ")
    steps = (step, advice.resume(e)) if step else (advice.logs(e), advice.resume(e))
    return Cause("script", headline, steps, (line,))


def _exception_in_log(e: Evidence) -> tuple[str, tuple[Clue, ...]] | None:
    """Return the last exception at the log's end, with the lines before it."""
    shown = [clue.text for clue in e.log.last]
    for at in range(len(shown) - 1, -1, -1):
        error = exception_in(shown[at])
        if error:
            return error, e.log.last[max(0, at - 4) : at + 1]
    return None


def unknown(e: Evidence) -> Cause:
    """Nothing tells: say so, and show the last that was said."""
    if e.log.file is None:
        headline = "not known: the job left no log"
        steps = ["the job may never have begun: hpclaunch status " + e.record.name]
        if e.record.job_id:
            steps.append(f"what Slurm remembers: scontrol show job {e.record.job_id}; sacct -j "
                         f"{e.record.job_id}")  # fmt: skip
        return Cause("unknown", headline, tuple(steps))
    code = "" if e.code is None else f" (exit code {e.code})"
    headline = f"not known{code}: nothing in the logs says why; the last lines are below"
    return Cause("unknown", headline, (advice.logs(e), advice.resume(e)), e.log.last)
