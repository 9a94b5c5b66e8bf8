"""How one rank ended: by an exception of its own, by a signal, or because of another rank."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from hpclaunch.diagnose import patterns
from hpclaunch.diagnose.cause import Clue
from hpclaunch.diagnose.log import tidy

_EXCEPTION = re.compile(
    r"^(?:\[rank\d+\]: ?)?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning)\b.*)$"
)
"""How a traceback ends; torch puts the rank in front of it."""
_TORN_CHECKPOINT = re.compile(rb"CheckpointException ranks:dict_keys\(\[([\d, ]*)\]\)")
"""How every rank names those that could not write their part of a checkpoint."""
_CHAINED = ("During handling of the above exception", "was the direct cause of the following")
_LAUNCHER = ("SignalException", "ChildFailedError", "CalledProcessError")
"""Exceptions of the launcher: they report a rank's end, or its own by a signal."""


@dataclass(frozen=True)
class RankFailure:
    """How one rank ended."""

    error: str
    """One line: the exception and its message; '' of a rank that printed none."""
    text: bytes = b""
    """Its traceback, or the end of its output."""
    rank: int | None = None
    local_rank: int | None = None
    node: int | None = None
    host: str | None = None
    at: float = 0.0
    """Unix seconds; 0 where it is not known."""
    code: int | None = None
    """Exit code; -N for a signal N."""
    fix: str = ""
    """The fix that the trainer's error names."""
    file: Path | None = None
    line: int | None = None
    """Where in the file the error stands, counted from 1."""
    before: int | None = None
    """Lines of the file before `text`; None where they were not counted."""
    is_collateral: bool = False
    """It looks like the consequence of another rank's failure."""

    @property
    def silent(self) -> bool:
        """It was ended by a signal, and printed no error."""
        return not self.error

    def clue(self) -> Clue:
        """Return the error as evidence."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at)) if self.at else ""
        return Clue(self.error, self.file, self.line, when, self.node, self.local_rank)


def is_collateral(error: str) -> bool:
    """Return whether an error looks like the consequence of a dead or slow peer."""
    return patterns.is_collateral(error.encode("utf-8", errors="replace"))


def others_failed(text: bytes, rank: int) -> bool:
    """Return whether a rank's output blames other ranks for a failed checkpoint."""
    match = _TORN_CHECKPOINT.search(text)
    return match is not None and str(rank).encode() not in match.group(1).replace(b",", b"").split()


def exception_in(line: str) -> str | None:
    """Return the exception that a line of a traceback names, the launcher's own left out."""
    match = _EXCEPTION.match(line)
    if not match or any(name in match.group(1).partition(":")[0] for name in _LAUNCHER):
        return None
    return tidy(match.group(1))


def last_exception(lines: list[str]) -> int | None:
    """Return the place of the last line that names an exception."""
    places = (at for at in range(len(lines) - 1, -1, -1) if exception_in(lines[at]))
    return next(places, None)


def traceback_start(lines: list[str], at: int) -> int:
    """Return where the traceback begins that ends at a place, those it came of included.

    Without one, the line itself. What the program printed before, it had survived.
    """
    begin = at
    for place in range(at, -1, -1):
        if lines[place].rstrip().endswith("Traceback (most recent call last):"):
            begin = place
            between = " ".join(lines[max(0, place - 3) : place])
            if not any(text in between for text in _CHAINED):
                break
    return begin
