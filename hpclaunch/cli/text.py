"""What the command line prints: results on stdout, messages on stderr, rows and tables."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpclaunch.cli.terminal import Style, fold, paint, width

if TYPE_CHECKING:
    import threading

    from hpclaunch.plan.notes import PlanNote

Row = tuple[str, str] | tuple[str, str, Style]
"""A label, its text, and how to colour the text."""

LABEL_WIDTH = 12
"""Columns of the labels before the texts."""
_LEAST_TEXT = 16
"""Columns that a column of text is folded to at least."""
_GAP = "  "
"""Between two columns of a table."""


def say(text: str) -> None:
    """Print a message on stderr, so that stdout holds results only.

    A terminal that was closed is no reason to leave the work half done.
    """
    with contextlib.suppress(OSError):
        print(f"hpclaunch: {text}", file=sys.stderr, flush=True)


def say_if(text: str | None) -> None:
    """Print a message on stderr where there is one, each of its lines by itself."""
    for line in (text or "").splitlines():
        say(line)


class WaitingMessage:
    """Prints that Slurm has not answered yet where that takes longer than `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Begin to wait."""
        import threading

        self._timer = threading.Timer(self._seconds, say, ["waiting for Slurm to answer"])
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """End to wait, or leave it for other work."""
        if self._timer is not None:
            self._timer.cancel()


@contextlib.contextmanager
def waiting_message(seconds: float = 3.0) -> Iterator[WaitingMessage]:
    """Print that Slurm has not answered yet where the work inside takes longer than `seconds`."""
    waiting = WaitingMessage(seconds)
    waiting.start()
    try:
        yield waiting
    finally:
        waiting.stop()


def print_notes(notes: Iterable[PlanNote]) -> None:
    """Print the plan's warnings on stderr, each with what was found and its fix."""
    for note in notes:
        say(paint(f"note: {note.evidence}; {note.fix}", "warning", sys.stderr))


def print_json(value: Any) -> None:
    """Print a result for scripts."""
    print(json.dumps(value, indent=2, default=str))


def rows(lines: Iterable[Row]) -> str:
    """Return label and text in two columns; a repeated label is left blank.

    On a terminal the texts are folded at its width.
    """
    columns = width()
    room = None if columns is None else max(_LEAST_TEXT, columns - LABEL_WIDTH)
    printed = []
    before = None
    for label, text, *styles in lines:
        style: Style = styles[0] if styles else ""
        first, *rest = fold(text, room)
        printed.append(
            f"{'' if label == before else f'{label} ':<{LABEL_WIDTH}}{paint(first, style)}".rstrip()
        )
        printed += [f"{'':<{LABEL_WIDTH}}{paint(line, style)}" for line in rest]
        before = label
    return "\n".join(printed)


def table(lines: Sequence[Sequence[str]], styles: Sequence[Style] = ()) -> str:
    """Return rows in columns; those between the first and the last are aligned to the right.

    On a terminal the first and the last column, which hold text, are folded at its width, and the
    heads of the others where that is too little. `styles` has a colour for the whole of each row,
    as far as it goes.
    """
    widths = _column_widths(lines, width())
    printed = []
    for number, line in enumerate(lines):
        style: Style = styles[number] if number < len(styles) else ""
        # Folded lines of the first column are indented, so that rows stay apart.
        cells = [fold(line[0], widths[0], "    ")]
        cells += [fold(cell, size) for cell, size in zip(line[1:], widths[1:], strict=True)]
        for at in range(max(map(len, cells))):
            row = [cell[at] if at < len(cell) else "" for cell in cells]
            middle = [cell.rjust(size) for cell, size in zip(row[1:-1], widths[1:-1], strict=True)]
            text = _GAP.join([row[0].ljust(widths[0]), *middle, row[-1]]).rstrip()
            printed.append(paint(text, style))
    return "\n".join(printed)


def _column_widths(lines: Sequence[Sequence[str]], columns: int | None) -> list[int]:
    """Return the width of each column, those of text made narrower where it is too much."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    if columns is None or sum(widths) + len(_GAP) * (len(widths) - 1) <= columns:
        return widths
    gaps = len(_GAP) * (len(widths) - 1)
    if sum(widths[1:-1]) + gaps + widths[0] + _LEAST_TEXT > columns:
        for at in range(1, len(widths) - 1):  # a head's words one below the other
            words = (len(word) for word in lines[0][at].split())
            widths[at] = max(*words, 0, *(len(line[at]) for line in lines[1:]))
    room = columns - sum(widths[1:-1]) - gaps
    last = min(widths[-1], max(_LEAST_TEXT, room - widths[0], room // 2))
    first = min(widths[0], max(_LEAST_TEXT, room - last))
    return [first, *widths[1:-1], last]
