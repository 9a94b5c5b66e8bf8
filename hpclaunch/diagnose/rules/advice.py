"""Commands that the rules advise, written as they are typed, and who a line is about."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.ranks import host_names
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Recipe
from hpclaunch.recipe.training import DEFAULTS
from hpclaunch.run.record import Record

_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):\d\d|(\d+)(?::\d\d)?")
"""As Slurm takes it: days-hours:minutes:seconds, or minutes:seconds; other forms are rare."""
_OF_RANK = re.compile(rb"Traceback \(most recent call last\): \(RANK (\d{1,6})\)")
LONGER = 2
"""How many times the time limit a run gets that had too little."""


def resume(evidence: RunEvidence, *words: str) -> str:
    """Return the command that goes on with the run, and from where it would."""
    return resume_command(evidence.record, evidence.progress.checkpoint, *words)


def resume_command(record: Record, checkpoint: int | None, *words: str) -> str:
    """Return the command that goes on with a run, and from where: the step of its `checkpoint`."""
    if record.stage:
        where = f"does {record.stage} again"
    elif record.program:
        where = "starts your program again"
    else:
        where = "from the beginning" if checkpoint is None else f"from step {checkpoint}"
    return f"{shlex.join(['hpclaunch', 'resume', record.name, *words])}   ({where})"


def word(text: str) -> str:
    """Return a word of a log as a command takes it: quoted, and never one of its options."""
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def elsewhere(evidence: RunEvidence, host: str | None) -> str:
    """Return the command that goes on without a node, where that is known and can be."""
    words = ("--exclude", host) if host and evidence.record.mode == "sbatch" else ()
    return resume(evidence, *words)


def logs(evidence: RunEvidence, rank: int | None = None) -> str:
    """Return the command that shows the log."""
    chosen = [] if rank is None else ["--rank", str(rank)]
    return shlex.join(["hpclaunch", "logs", evidence.record.name, *chosen])


def recipe(evidence: RunEvidence) -> Recipe | None:
    """Return the recipe of a run of the built-in trainer; None where there is none to read."""
    from hpclaunch.recipe.load import load

    if evidence.record.program:
        return None
    try:
        return load(str(evidence.folder.recipe))
    except (UserError, OSError, ValueError):
        return None


def training(evidence: RunEvidence) -> dict[str, object]:
    """Return the training section that the run was started with, defaults filled in."""
    found = recipe(evidence)
    return dict(DEFAULTS) if found is None else {**DEFAULTS, **found.training}


def longer(evidence: RunEvidence) -> tuple[str, ...]:
    """Return the words that ask for twice the time limit; () where it is not known."""
    match = _TIME.fullmatch(str(evidence.record.resources.get("time", "")))
    if not match:
        return ()
    days, hours, minutes, alone = (int(group or 0) for group in match.groups())
    total = LONGER * ((days * 24 + hours) * 60 + minutes + alone)
    return ("--time", f"{total // 60}:{total % 60:02}:00") if total else ()


def cause(evidence: RunEvidence, line: Clue, headline: str, *steps: str) -> Cause:
    """Return the cause that a line shows, of whom the line is about; the last step resumes."""
    return Cause(headline, (*steps, resume(evidence)), (line,), *who(evidence, line))


def who(evidence: RunEvidence, line: Clue) -> tuple[int | None, str | None]:
    """Return rank and host that a line is about: its own, or the rank that failed first."""
    rank, host = evidence.rank_and_host(line)
    culprit = evidence.culprit
    other = _OF_RANK.search(culprit.text) if culprit else None
    if other:  # a checkpoint's own words on the rank that could not write its part
        number = int(other[1])
        return number, host_of_rank(evidence, number)
    if rank is None and culprit is not None:
        return culprit.rank, host or culprit.host
    return rank, host


def host_of_rank(evidence: RunEvidence, rank: int) -> str | None:
    """Return the node of a rank; None where it is not known."""
    names = host_names(evidence.folder)
    node = rank // max(1, evidence.record.processes_per_node)
    return names[node] if node < len(names) else None


def line_with(evidence: RunEvidence, text: str) -> Clue:
    """Return a line of the last words as evidence, with its place as far as that is known."""
    plain = re.sub(r"^\[rank\d+\]: ?", "", text).strip()
    for rank in evidence.speakers[:1]:
        lines = rank.text.decode("utf-8", errors="replace").split("\n")
        for at in range(len(lines) - 1, -1, -1):
            if plain and plain in lines[at]:
                number = None if rank.before is None else rank.before + at + 1
                return replace(rank.clue(), text=tidy(plain), line=number)
    return next((clue for clue in evidence.log.last if plain in clue.text), Clue(tidy(plain)))
