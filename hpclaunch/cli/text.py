"""How the command line writes lines, numbers and times."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpclaunch.plan.notes import PlanNote


def say(text: str) -> None:
    """Talk to the person: on stderr, so that stdout carries the answer alone.

    A terminal that was closed is no reason to leave the work half done.
    """
    with contextlib.suppress(OSError):
        print(f"hpclaunch: {text}", file=sys.stderr, flush=True)


def say_if(text: str | None) -> None:
    """Say it, where there is something to say."""
    if text is not None:
        say(text)


@contextlib.contextmanager
def patience(seconds: float = 3.0) -> Iterator[None]:
    """Say that Slurm is waited for, where the work inside takes longer than `seconds`."""
    import threading

    timer = threading.Timer(seconds, say, ["waiting for Slurm to answer"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say_findings(findings: Iterable[PlanNote]) -> None:
    """Say what a careful colleague would."""
    for finding in findings:
        say(f"note: {finding.evidence}; {finding.fix}")


def answer_json(value: Any) -> None:
    """Answer a script."""
    print(json.dumps(value, indent=2, default=str))


def rows(pairs: Iterable[tuple[str, str]]) -> str:
    """Return label and text in two columns; a repeated label is left blank."""
    lines = []
    before = None
    for label, text in pairs:
        lines.append(f"{'' if label == before else label:<12}{text}")
        before = label
    return "\n".join(lines)
