"""Lines of a report, folded at the terminal's width; at 80 columns where there is none."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable

_NO_TERMINAL = 80
"""Columns where stdout is a pipe or a file."""
_LEAST = 40
"""Columns that text is written for at least, however narrow the terminal."""


def width() -> int:
    """Return the columns of the terminal that stdout is; 80 where it is none."""
    try:
        if not sys.stdout.isatty():
            return _NO_TERMINAL
    except (ValueError, AttributeError):  # closed, or none at all
        return _NO_TERMINAL
    return max(_LEAST, shutil.get_terminal_size((_NO_TERMINAL, 24)).columns)


def row(label: str, text: str) -> str:
    """Return a labelled text, folded under itself."""
    return "\n".join(fold(text, first=f"  {label:<11}", later=" " * 13))


def wrapped(texts: Iterable[str]) -> list[str]:
    """Return the lines of several texts."""
    return [line for text in texts for line in fold(text)]


def fold(text: str, first: str = "", later: str = "") -> list[str]:
    """Return the lines of a text; `first` stands before the first, `later` before the others."""
    return textwrap.wrap(
        printable(text),
        width(),
        initial_indent=first,
        subsequent_indent=later,
        break_on_hyphens=False,
    )


def printable(text: str) -> str:
    """Return a text without control characters.

    Names and notes come from files, whose bytes must not reach the terminal as commands.
    """
    plain = (" " if char.isspace() else char for char in text)
    return "".join(char if char.isprintable() else "?" for char in plain)


def cell(value: float | None) -> str:
    """Return a number for a narrow column, `-` where it is unknown."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) < 1e5 else f"{value:.0e}"


def gib(mib: float | None) -> str:
    """Return an amount of memory, given in MiB, as GiB; `-` where it is unknown."""
    if mib is None:
        return "-"
    return f"{mib / 1024:.1f}" if abs(mib) < 1e8 else f"{mib / 1024:.0e}"


def counted(number: int, what: str) -> str:
    """Return a number with its noun: `1 node`, `2 nodes`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
