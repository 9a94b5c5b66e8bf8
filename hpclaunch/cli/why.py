"""`hpclaunch why`: why a run failed, ended or waits, the cause first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.terminal import STATE_STYLES
from hpclaunch.cli.text import print_json, rows, waiting_message

if TYPE_CHECKING:
    from hpclaunch.diagnose.cause import Cause, Clue, Diagnosis

WIDTH = 160
"""Characters of a log line that are printed."""
SHOWN = 10
"""Lines of evidence that are printed; --json has all that were kept."""


@click.command(
    cls=Command,
    examples=[
        ("The newest run", "hpclaunch why"),
        ("For a script, with all the evidence", "hpclaunch why my-run --json"),
    ],
)
@options.run
@options.as_json
def why(run: str | None, as_json: bool) -> None:
    """Explain why a run failed, ended or waits.

    Prints the cause, the evidence and what to do next, from the logs of the job and its ranks, the
    samples of the nodes, and Slurm's accounting. Exits with 0.
    """
    from dataclasses import asdict

    from hpclaunch.diagnose.why import why as diagnose
    from hpclaunch.run.find import find

    with waiting_message():
        diagnosis = diagnose(*find(run))
    if as_json:
        print_json(asdict(diagnosis))
    else:
        print(_text(diagnosis))


def _text(diagnosis: Diagnosis) -> str:
    """Return the whole diagnosis as text."""
    cause, state = diagnosis.cause, diagnosis.state
    style = STATE_STYLES.get(state, "")
    parts = [
        rows(
            [
                ("run", f"{diagnosis.name} ({state})"),
                ("cause", _short(cause.line, 400), style),
            ]
        ),
        _evidence(cause, diagnosis.folder),
        rows([("next", step) for step in cause.advice]),
        rows([("also seen", _short(other.line)) for other in diagnosis.also]),
        rows([("note", note, "warning") for note in diagnosis.notes]),
    ]
    return "\n\n".join(part for part in parts if part)


def _evidence(cause: Cause, folder: Path) -> str:
    """Return the lines that show the cause, under the file that each is from."""
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
    node = "" if clue.node is None or not clue.text.strip() else f"node {clue.node} | "
    return f"  {number:>7} {node}{_short(clue.text)}"


def _place(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file)


def _short(text: str, width: int = WIDTH) -> str:
    """Return the beginning of a line, where messages say what happened."""
    import textwrap

    indent = text[: len(text) - len(text.lstrip())]
    return indent + textwrap.shorten(text, width, placeholder=" ...")
