"""The part of an exception's message that its first line leaves out. Pure."""

from __future__ import annotations

import re

_LISTED = re.compile(r"but (?:found|got)$|\d+ validation errors? for \S+$")
_IN_FILE = re.compile(r'in "[^"]+", line \d+')
"""Where parsers say, below what they met, in which file it stands."""
_ITEM = re.compile(r"[-*•] |[A-Z][\w ]+, |[^.]*\[type=")
"""What an error lists below its first line."""
_BULLET = re.compile(r"[-*•] |\d[.)] ")
ITEMS = 3
"""Most lines of such a list that are shown with it."""


def with_lines_below(plain: list[str], at: int, error: str) -> str:
    """Return an error with what stands below its first line and belongs to it: what it lists, the
    file and line that a parser names, NCCL's `Last error:`, or its first words.

    `plain`: the lines of an output; `at`: the line that names the exception.
    """
    below = [line.strip() for line in plain[at + 1 : at + 6] if re.search(r"\w{2}", line)]
    if error.endswith(":"):
        listed = below[:1]
        if listed and _BULLET.match(listed[0]):
            listed = [line for line in below if _BULLET.match(line)][:ITEMS]
        return " ".join([error, *listed])
    place = next((n for n, line in enumerate(below) if _IN_FILE.match(line)), None)
    if place is not None:
        return " ".join([error, *below[: place + 1]])
    if _LISTED.search(error) and below:
        stop = next((n for n, line in enumerate(below) if n and not _ITEM.match(line)), len(below))
        return " ".join([error, *below[: min(stop, ITEMS)]])
    for place in range(at, min(len(plain) - 1, at + 6)):
        if plain[place].strip() == "Last error:":
            return f"{error.rstrip(' .')}. Last error: {plain[place + 1].strip()}"
    return error
