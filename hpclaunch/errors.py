"""The one error a user is meant to see: what is wrong, where, and the fix, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable


class UserError(Exception):
    """What was asked cannot be done as asked (exit code 2).

    `message` says what and where, `fix` what to do about it. Both end up on one line of stderr.
    """

    code = 2
    """Exit code of the command line."""

    def __init__(self, message: str, fix: str = "") -> None:
        self.message = printable(message)
        self.fix = printable(fix)
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return the line as the terminal shows it."""
        return f"{self.message}; {self.fix}" if self.fix else self.message


class JobFailed(UserError):
    """Something was started and failed (exit code `code`, 1 unless the job left one of its own)."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def printable(text: str) -> str:
    """Return a text with what cannot be shown, line breaks among them, as its code."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def nearest(word: str, valid: Iterable[str], most: int | None = None) -> str:
    """Return which valid name was probably meant: `did you mean 'x'?`, or the valid names.

    Numbers in names count as such (run-9 before run-10). Of more than `most` the last are listed.
    """
    import difflib  # most commands have nothing to complain of

    names = sorted(valid, key=_by_number)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    if most and len(names) > most:
        return f"{len(names)} there, among them: " + ", ".join(names[-most:])
    return "valid: " + ", ".join(names)


def _by_number(name: str) -> list[tuple[int, int, str]]:
    """Return what a name is sorted by: its digits as numbers, the rest as text."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
