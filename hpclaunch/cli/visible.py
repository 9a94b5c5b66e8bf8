"""Control characters in what is printed are shown as codes, wherever they come from.

A log line, a node's name or an address in a run folder may hold escapes that set the window's
title, clear the screen or put a command into the clipboard. They reach the terminal as text.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import IO, Any

_OWN = r"\x1b\[(?:0|2|1;31|32|33)m|\r\x1b\[K"
"""Colours as `terminal.paint` writes them, and the progress line's erasing."""
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_OWN_PARTS = re.compile(f"({_OWN})")
RAW = frozenset({"export", "completion", "watch", "monitor", "sbatch", "config", "recipes"})
"""Commands whose output is data or the user's own files, or that draw a screen by themselves."""


def visible(text: str) -> str:
    """Return a text with control characters, but tab and line break, as codes."""
    if not _CONTROL.search(text):
        return text
    codes = _codes()
    parts = _OWN_PARTS.split(text)  # ours are the second, the fourth, ...
    return "".join(part if at % 2 else part.translate(codes) for at, part in enumerate(parts))


@cache
def _codes() -> dict[int, str]:
    """Return how each control character is shown, by its number."""
    found = {}
    for number in (*range(0xA0), *range(0x200E, 0x2070), *range(0xD800, 0xE000)):
        if _CONTROL.match(chr(number)):
            found[number] = f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
    return found


class _VisibleStream:
    """A stream of text that shows control characters; all else is the stream's own."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text. Returns the number of its characters."""
        self._stream.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def visible_streams(command: str) -> Iterator[None]:
    """Let stdout and stderr show control characters while a command runs, unless it is in RAW."""
    if command in RAW:
        yield
        return
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _VisibleStream(before[0]), _VisibleStream(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
