"""What the script, its launchers, or what runs before the ranks said as they ended."""

from __future__ import annotations

import re
import signal

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.rules import advice, raised
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.diagnose.tracebacks import ending

_TASK = re.compile(
    r"(?:srun: error: ([\w.-]+): tasks? [\d,-]+:|: line \d+: +\d+) "
    r"(Killed|Segmentation fault|Bus error|Aborted)"
)
_RANK_ENDED = re.compile(
    r"sigkill_handler\] .* return code = -(?P<code>\d+)"
    r"|process rank (?P<rank>\d+) .*?on node (?P<host>\S+) exited on signal (?P<signal>\d+)"
)
"""How DeepSpeed's launcher and mpirun say that a signal ended a rank."""
_MESSAGE = re.compile(r"^(?:hpclaunch|sbatch|bash|srun|slurmstepd\S*|FATAL): *(?:error: )?(.*)")
_OF_SLURM = re.compile(
    r"^(?:srun|slurmstepd\S*|hpclaunch): .*(?:Exited with exit code|Terminating|CANCELLED|aborted"
    r"|got SIGCONT|forcing job|failed with code)"
)
_BOX = re.compile(r"^-{40,}\n((?:(?!-{40,}$).*\n)+)-{40,}$", re.MULTILINE)
"""How MPI's launchers write what is wrong."""
SHOWN, WORDS = 8, 300
"""Most lines of it that are shown, and most characters in the headline."""
ERRORS = 3
"""Last lines of the script among which an error comes before hints, and what follows from it."""
_TELLING = re.compile(r"^s(?:run|batch): (?:error|fatal): |: unexpected EOF while looking")
_LINE_OF_SCRIPT = re.compile(r"^(?:\S*/)?(\S+: line \d+: .*)")
"""How bash names a line of a script that it cannot execute."""
_CONSEQUENCE = re.compile(
    r"^hpclaunch: (?:job \d+, (?:attempt|start)|fetching model|starting \d+ process)"
    r"|Application launch failed|failed too|failed with code|Job step aborted|got SIGCONT"
    r"|forcing job termination"
    r"|Terminating StepId|Exited with exit code|_step_signal|Job step creation|node failure"
    r"|task \d+: (?:Terminated|Killed)|CANCELLED AT|Force Terminated|spank: required plugin"
    r"|going to /tmp instead|[Ff]ailed to invoke spank|error: spank: "
    r"|pyxis: (?:couldn't start|child \d+ failed|failed to import|container start failed|printing"
    r"|if the image has| +\[INFO\])"
)


def exception_in_log(evidence: RunEvidence) -> Cause | None:
    """No rank failed: what ran before the ranks raised an exception."""
    last = _last_exception(evidence)
    line = _message_of_script(evidence)
    if evidence.ranks or last is None or (line and line.text.startswith("hpclaunch: ")):
        return None
    error, message, clues = last
    fix = raised.own_fix([error, *message])
    steps = [f"{raised.SAYS}{fix}"] if fix else []
    return Cause(error, (*steps, advice.logs(evidence), advice.resume(evidence)), clues)


def message(evidence: RunEvidence) -> Cause | None:
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


def boxed(evidence: RunEvidence) -> Cause | None:
    """No rank failed: a launcher, as MPI's, said why between two lines of dashes."""
    text = "\n".join(own_end(evidence))
    boxes = _BOX.findall(text)
    if evidence.ranks or not boxes or not text.rstrip().endswith("----"):
        return None
    words = " ".join(tidy(boxes[-1]).split())
    shown = tuple(Clue(tidy(line), evidence.log.file) for line in boxes[-1].split("\n")[:SHOWN]
                  if line.strip())  # fmt: skip
    return Cause(words[:WORDS], (advice.logs(evidence), advice.resume(evidence)), shown)


def own_end(evidence: RunEvidence) -> list[str]:
    """Return the log's last lines without Slurm's words on what had already failed."""
    lines = evidence.log.end().rstrip().split("\n")
    while lines and (not lines[-1].strip() or _OF_SLURM.search(lines[-1])):
        lines.pop()
    return lines


def task_killed(evidence: RunEvidence) -> Cause | None:
    """A launcher itself was ended by a signal, as srun says."""
    if evidence.ranks:
        return None
    for line in evidence.matching_lines("task_killed"):
        ended = _RANK_ENDED.search(line.text)
        if ended and evidence.log.is_at_end(line):
            return _rank_killed(evidence, line, ended)
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


def _rank_killed(evidence: RunEvidence, line: Clue, ended: re.Match[str]) -> Cause:
    """Return the cause of a rank that DeepSpeed's launcher, or mpirun, saw end by a signal."""
    number = int(ended["code"] or ended["signal"])
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    why = " (by the system where memory ran out, or by a person)" * (name == "SIGKILL")
    host = ended["host"]
    steps = (
        f"what the kernel says on {host or 'the node'}: dmesg -T | grep -i kill; or try more --mem",
        advice.logs(evidence), advice.resume(evidence),
    )  # fmt: skip
    rank = int(ended["rank"]) if ended["rank"] else None
    return Cause(f"a rank was ended by {name}{why}", steps, (line,), rank, host)


def _message_of_script(evidence: RunEvidence) -> Clue | None:
    """Return the last line of the script that is no consequence of another failure."""
    lines = (line for line in reversed(evidence.matching_lines("script"))
             if not _CONSEQUENCE.search(line.text))  # fmt: skip
    found = list(lines)
    telling = (line for line in found[:ERRORS] if _TELLING.search(line.text))
    return next(telling, next(iter(found), None))


def _last_exception(
    evidence: RunEvidence,
) -> tuple[str, list[str], tuple[Clue, ...]] | None:
    """Return the exception that the log ends with, its message below, and its traceback's end."""
    lines = evidence.log.end().rstrip().split("\n")
    found = ending(lines, len(evidence.log.last))
    if found is None:
        return None
    shown = [tidy(line) for line in lines[max(found.begin, found.at - 4) : found.at + 1]]
    clues = tuple(Clue(text, evidence.log.file) for text in shown if text)
    below = [
        tidy(line) for line in lines[found.at + 1 : min(found.stop, found.at + raised.MESSAGE)]
    ]
    return tidy(found.error), below, clues
