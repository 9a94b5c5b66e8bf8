"""`hpclaunch why`: what became of a run, cause first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import answer_json, patience, rows

if TYPE_CHECKING:
    from hpclaunch.diagnose.cause import Cause, Clue, Diagnosis

WIDTH = 160
"""Characters of a log's line that are shown."""
SHOWN = 10
"""Lines of evidence on the screen; --json has all that were kept."""


@click.command()
@options.run
@options.as_json
def why(run: str | None, as_json: bool) -> None:
    """Say why a run failed, ended or waits.

    The cause, what shows it, and what to do next.

    Reads the logs of job and ranks, the samples of the nodes, and Slurm's own word. Exits 0.
    """
    from dataclasses import asdict

    from hpclaunch.diagnose.why import why as ask
    from hpclaunch.run.find import find

    with patience():
        found = ask(*find(run))
    if as_json:
        answer_json(asdict(found))
    else:
        print(_screen(found))


def _screen(found: Diagnosis) -> str:
    """Return the whole answer as text."""
    cause = found.cause
    parts = [
        rows([("run", f"{found.name} ({found.state})"), ("cause", _short(cause.line, 400))]),
        _evidence(cause, found.folder),
        rows([("next", step) for step in cause.advice]),
        rows([("also seen", _short(other.line)) for other in found.also]),
        rows([("note", note) for note in found.notes]),
    ]
    return "\n\n".join(part for part in parts if part)


def _evidence(cause: Cause, folder: Path) -> str:
    """Return the lines that show the cause, under the file they stand in."""
    lines: list[str] = []
    file: Path | None = None
    for clue in cause.evidence[:SHOWN]:
        if clue.file is not None and clue.file != file:
            file = clue.file
            lines.append(_place(file, folder) + (f"   {clue.time}" if clue.time else ""))
        lines.append(_clue(clue))
    return "\n".join(lines)


def _clue(clue: Clue) -> str:
    number = "" if clue.line is None else f"{clue.line}:"
    said_by = "" if clue.node is None or not clue.text.strip() else f"node {clue.node} | "
    return f"  {number:>7} {said_by}{_short(clue.text)}"


def _place(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file)


def _short(text: str, width: int = WIDTH) -> str:
    """Return a line that fits: its beginning, where messages say what happened."""
    import textwrap

    indent = text[: len(text) - len(text.lstrip())]
    return indent + textwrap.shorten(text, width, placeholder=" ...")
