"""What is left when nothing more precise fits: the program's own error, a signal, or nothing."""

from __future__ import annotations

import re
import signal
from dataclasses import replace

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.last_words import argument_error, without_noise
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.rank_failure import RankFailure
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.diagnose.tracebacks import ending

FRAMES = 8
"""Lines of a traceback that are shown."""
LAST = 4
"""Last lines of a rank's output that are shown."""
MESSAGE = 6
"""Lines of an error's message that are shown, the first included."""
_TASK = re.compile(
    r"(?:srun: error: ([\w.-]+): tasks? [\d,-]+:|: line \d+: +\d+) "
    r"(Killed|Segmentation fault|Bus error|Aborted)"
)
ARGPARSE = 2
"""Exit code of a program that argparse ends."""
_MESSAGE = re.compile(r"^(?:hpclaunch|sbatch|bash|srun|slurmstepd\S*|FATAL): *(?:error: )?(.*)")
_REWARD = re.compile(r"reward function failed: (\S+?)(?::\d+)?(?:$|[ :])")
"""How the trainer names an error of a reward function (hpclaunch/train/rewards.py)."""
_LINE_OF_SCRIPT = re.compile(r"^(?:\S*/)?(\S+: line \d+: .*)")
"""How bash names a line of a script that it cannot execute."""
_CONSEQUENCE = re.compile(
    r"^hpclaunch: (?:job \d+, (?:attempt|start)|fetching model|starting \d+ process)"
    r"|failed too|failed with code|Job step aborted|got SIGCONT|forcing job termination"
    r"|Terminating StepId|Exited with exit code|_step_signal|Job step creation|node failure"
    r"|task \d+: (?:Terminated|Killed)|CANCELLED AT|Force Terminated|spank: required plugin"
    r"|going to /tmp instead|Failed to invoke spank"
)


def arguments(evidence: RunEvidence) -> Cause | None:
    """The program did not take its arguments."""
    rank = evidence.culprit
    if rank is None and evidence.code == ARGPARSE:
        error = argument_error(evidence.log.end().split("\n"))
        steps = (advice.logs(evidence), advice.resume(evidence))
        return Cause(error, steps, evidence.log.last) if error else None
    if rank is None or rank.is_collateral:
        return None
    of_argparse = rank.code == ARGPARSE and ": error: " in rank.error
    if not of_argparse and "not used by the HfArgumentParser" not in rank.error:
        return None
    words = " ".join(evidence.record.program)
    steps = (f"see what it takes, and what it was given: {words}", advice.resume(evidence))
    shown = tuple(Clue(text, rank.file) for text in _last_lines(rank)[-LAST:])
    return Cause(rank.error, steps, shown or (rank.clue(),), rank.rank, rank.host)


def reward_function(evidence: RunEvidence) -> Cause | None:
    """A reward function of the user's raised an exception, or returned what is no reward."""
    rank = evidence.culprit
    found = None if rank is None else _REWARD.search(rank.error)
    if rank is None or found is None:
        return None
    steps = (
        f"correct {found[1]}; the run takes the file as it is when you resume",
        advice.resume(evidence),
    )
    shown = traceback(rank) if rank.text else (rank.clue(),)
    headline = rank.error[found.start() :]
    return Cause(headline, steps, shown, rank.rank, rank.host)


def exception(evidence: RunEvidence) -> Cause | None:
    """The program raised an exception, or left an exit code of its own."""
    rank = evidence.culprit
    if rank is None or rank.silent or rank.is_collateral:
        return None
    steps = [rank.fix] if rank.fix else []
    steps += [advice.logs(evidence, rank.rank), advice.resume(evidence)]
    shown_lines = traceback(rank) if rank.text else (evidence.exit_line(rank),)
    if "CalledProcessError" in rank.error and rank.context:  # the other program says why, above
        above = without_noise(rank.context.decode("utf-8", errors="replace").split("\n"))
        shown_lines = (*(Clue(tidy(text), rank.file) for text in above[-LAST:]), *shown_lines)
    if rank.code is not None and rank.error.endswith(f"(exit code {rank.code})"):
        words = tuple(Clue(text, rank.file) for text in _last_lines(rank)[-LAST:])
        shown_lines = (*words, evidence.exit_line(rank))
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
    shown_lines = (evidence.exit_line(rank), *output[-LAST:])
    steps = (step, advice.logs(evidence, rank.rank), advice.resume(evidence))
    return Cause(headline, steps, shown_lines, rank.rank, rank.host)


def _last_lines(rank: RankFailure) -> list[str]:
    raw = rank.context + b"\n" + rank.text if rank.error else rank.text
    lines = raw.decode("utf-8", errors="replace").splitlines()
    return [text for line in lines[-8:] if (text := tidy(line))]


def traceback(rank: RankFailure) -> tuple[Clue, ...]:
    """Return the end of a rank's traceback, then its message with NCCL's last error."""
    lines = rank.text.decode("utf-8", errors="replace").split("\n")
    error = len(lines) - 1 if rank.error_at is None else min(rank.error_at, len(lines) - 1)
    kept: list[Clue] = []
    for at in range(error, -1, -1):
        text = _unranked(lines[at]).strip()
        if text.startswith("Traceback (most recent") or len(kept) == FRAMES:
            break
        if text and not set(text) <= set("^~ "):
            kept.insert(0, _shown(rank, lines, at))
    for at in range(error + 1, min(len(lines), error + MESSAGE)):
        if re.search(r"\w{2}", lines[at]):
            kept.append(_shown(rank, lines, at))
    return tuple(kept) or (rank.clue(),)


def _shown(rank: RankFailure, lines: list[str], at: int) -> Clue:
    """Return a line of a rank's text as evidence."""
    raw = _unranked(lines[at])
    number = None if rank.before is None else rank.before + at + 1
    text = ("  " if raw.startswith("    ") else "") + tidy(raw)
    return replace(rank.clue(), text=text, line=number, node=None)


def _unranked(line: str) -> str:
    return re.sub(r"^\[rank\d+\]: ?", "", line)


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
    of_script = None if match else _LINE_OF_SCRIPT.match(line.text)
    if of_script:
        headline = of_script.group(1)
        windows = any("\\r'" in each.text for each in evidence.matching_lines("script"))
        step = "the script has Windows' line ends: dos2unix it" * windows
    steps = (
        (step, advice.resume(evidence))
        if step
        else (advice.logs(evidence), advice.resume(evidence))
    )
    return Cause(headline, steps, (line,))


def task_killed(evidence: RunEvidence) -> Cause | None:
    """A launcher itself was ended by a signal, as srun says."""
    if evidence.ranks:
        return None
    for line in evidence.matching_lines("task_killed"):
        match = _TASK.search(line.text)
        if match and evidence.log.is_at_end(line):
            how = match[2].partition(" (")[0]
            kill = " (by the system where memory ran out, or by a person)" * (how == "Killed")
            steps = (
                f"what the kernel says on {match[1] or 'the node'}: dmesg -T | grep -i kill; or "
                "try more --mem",
                advice.logs(evidence), advice.resume(evidence),
            )  # fmt: skip
            headline = f"the launcher was ended by a signal: {how}{kill}"
            return Cause(headline, steps, (line,), host=match[1])
    return None


def _message_of_script(evidence: RunEvidence) -> Clue | None:
    """Return the last line of the script that is no consequence of another failure."""
    lines = (line for line in reversed(evidence.matching_lines("script"))
             if not _CONSEQUENCE.search(line.text))  # fmt: skip
    return next(lines, None)


def _last_exception(evidence: RunEvidence) -> tuple[str, tuple[Clue, ...]] | None:
    """Return the exception that the log ends with, and the end of its traceback."""
    lines = evidence.log.end().split("\n")
    found = ending(lines, len(evidence.log.last))
    if found is None:
        return None
    shown = [tidy(line) for line in lines[max(found.begin, found.at - 4) : found.at + 1]]
    return tidy(found.error), tuple(Clue(text, evidence.log.file) for text in shown if text)


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
