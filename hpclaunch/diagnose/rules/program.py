"""What is left when nothing more precise fits: the program's own error, a signal, or nothing."""

from __future__ import annotations

import re
import signal
from dataclasses import replace

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.rank_failure import RankFailure, exception_in
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

FRAMES = 8
"""Lines of a traceback that are shown."""
_MESSAGE = re.compile(r"^(?:hpclaunch|sbatch|bash|srun): (?:error: )?(.*)")
_CONSEQUENCE = re.compile(
    r"^hpclaunch: (?:job \d+, (?:attempt|start)|fetching model|starting \d+ process)"
    r"|failed too|failed with code|Job step aborted|got SIGCONT|forcing job termination"
    r"|Terminating StepId|Exited with exit code|_step_signal|Job step creation|node failure"
)


def exception(evidence: RunEvidence) -> Cause | None:
    """The program raised an exception, or left an exit code of its own."""
    rank = evidence.culprit
    if rank is None or rank.silent or rank.is_collateral:
        return None
    steps = [rank.fix] if rank.fix else []
    steps += [advice.logs(evidence, rank.rank), advice.resume(evidence)]
    shown_lines = traceback(rank) if rank.text else (evidence.exit_line(rank),)
    return Cause(rank.error, tuple(steps), shown_lines, rank.rank, rank.host)


def killed(evidence: RunEvidence) -> Cause | None:
    """A rank was ended by a signal, and printed no error."""
    rank = evidence.culprit
    if rank is None or not rank.silent or rank.is_collateral or rank.code is None:
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
    output = tuple(Clue(text, rank.file) for text in _last_lines(rank))
    step = {
        "SIGKILL": "what the kernel says on the node: dmesg -T | grep -i kill; or try more --mem",
        "SIGBUS": "df -h /dev/shm on the node; training.dataloader_num_workers=0 uses none of it",
    }.get(name, "PYTHONFAULTHANDLER=1 in the job shows where it was")
    shown_lines = (evidence.exit_line(rank), *output[-4:])
    steps = (step, advice.logs(evidence, rank.rank), advice.resume(evidence))
    return Cause(headline, steps, shown_lines, rank.rank, rank.host)


def _last_lines(rank: RankFailure) -> list[str]:
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


def exception_in_log(evidence: RunEvidence) -> Cause | None:
    """No rank failed: what ran before the ranks raised an exception."""
    last = _last_exception(evidence)
    line = _message_of_script(evidence)
    if evidence.ranks or last is None or (line and line.text.startswith("hpclaunch: ")):
        return None
    error, clues = last
    return Cause(error, (advice.logs(evidence), advice.resume(evidence)), clues)


def script(evidence: RunEvidence) -> Cause | None:
    """No rank failed: the script, or a command in it, printed why."""
    line = _message_of_script(evidence)
    if evidence.ranks or line is None or exception_in_log(evidence) is not None:
        return None
    match = _MESSAGE.match(line.text)
    headline, _, step = (match.group(1) if match else line.text).partition("; ")
    steps = (
        (step, advice.resume(evidence))
        if step
        else (advice.logs(evidence), advice.resume(evidence))
    )
    return Cause(headline, steps, (line,))


def _message_of_script(evidence: RunEvidence) -> Clue | None:
    """Return the last line of the script that is no consequence of another failure."""
    lines = (line for line in reversed(evidence.matching_lines("script"))
             if not _CONSEQUENCE.search(line.text))  # fmt: skip
    return next(lines, None)


def _last_exception(evidence: RunEvidence) -> tuple[str, tuple[Clue, ...]] | None:
    """Return the last exception at the log's end, with the lines before it."""
    shown = [clue.text for clue in evidence.log.last]
    for at in range(len(shown) - 1, -1, -1):
        error = exception_in(shown[at])
        if error:
            return error, evidence.log.last[max(0, at - 4) : at + 1]
    return None


def unknown(evidence: RunEvidence) -> Cause:
    """No rule fits: the last lines of the log are shown."""
    if evidence.log.file is None:
        headline = "not known: the job left no log"
        steps = ["the job may never have begun: hpclaunch status " + evidence.record.name]
        job = evidence.record.job_id
        if job:
            steps.append(f"what Slurm remembers: scontrol show job {job}; sacct -j {job}")
        return Cause(headline, tuple(steps))
    code = "" if evidence.code is None else f" (exit code {evidence.code})"
    headline = f"not known{code}: nothing in the logs says why; the last lines are below"
    return Cause(headline, (advice.logs(evidence), advice.resume(evidence)), evidence.log.last)
