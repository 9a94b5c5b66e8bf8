"""What the terminal can do: its width, and colours where it is one."""

from __future__ import annotations

import os
import sys
from typing import IO, Literal

from hpclaunch.cli.visible import colour

Style = Literal["", "bad", "good", "warning", "quiet"]
_CODES = {"bad": "1;31", "good": "32", "warning": "33", "quiet": "2"}
LEAST_WIDTH = 40
"""Columns that text is written for at least, however narrow the terminal."""

STATE_STYLES: dict[str, Style] = {
    "done": "good",
    "failed": "bad",
    "timed out": "bad",
    "cancelled": "bad",
    "unknown": "warning",
}
"""Colours of a run's states."""


def paint(text: str, style: Style, stream: IO[str] | None = None) -> str:
    """Return text in a colour, or as it is where `stream` (by default stdout) shows none."""
    stream = stream or sys.stdout
    if not style or not text or not coloured(stream):
        return text
    return f"{colour(_CODES[style], stream)}{text}{colour('0', stream)}"


def coloured(stream: IO[str]) -> bool:
    """Whether to write colours: to terminals, and not with NO_COLOR; always with CLICOLOR_FORCE."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") not in {"", "0"}:
        return True
    return os.environ.get("TERM") != "dumb" and is_terminal(stream)


def width() -> int | None:
    """Return the columns of the terminal that stdout is; None where it is none: a pipe, a file."""
    if not is_terminal(sys.stdout):
        return None
    import shutil

    return max(LEAST_WIDTH, shutil.get_terminal_size().columns)


def fold(text: str, columns: int | None, indent: str = "") -> list[str]:
    """Return a line in lines of at most so many columns, broken between words; None: as it is.

    Single words stay whole: a path or a command is to be copied. `indent` stands before all lines
    but the first.
    """
    if columns is None or len(text) <= columns:
        return [text]
    import textwrap

    return textwrap.wrap(
        text, columns, break_long_words=False, break_on_hyphens=False, subsequent_indent=indent
    ) or [""]


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person is at the other end of a stream."""
    try:
        return stream.isatty()
    except (ValueError, AttributeError):  # closed, or none at all
        return False
