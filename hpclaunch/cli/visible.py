"""Control characters in what is printed are shown as codes, wherever they come from.

A log line, a node's name or an address in a run folder may hold escapes that set the window's
title, clear the screen or put a command into the clipboard. They reach the terminal as text.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import IO, Any

_TAG = os.urandom(8).hex()
"""Drawn anew in each process: no file can hold a mark of ours."""
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""Compiled when the first text needs it: that takes milliseconds, and most commands have none."""
_ERASE = "K"
RAW = frozenset({"export", "completion", "watch", "monitor", "config", "recipes"})
"""Commands whose results are data or the user's own files, or that draw a screen by themselves."""


def visible(text: str) -> str:
    """Return a text with control characters, but tab and line break, as codes.

    The marks of `colour` and `erase_line` become the sequences that they stand for: no others get
    through.
    """
    if text.replace("\n", "").replace("\t", "").isprintable() or not re.search(_CONTROL, text):
        return text
    codes = _codes()
    mark = rf"\x1b\[{_TAG}:([0-9;]*[A-Za-z])"
    parts = re.split(mark, text)  # what the marks stand for is the second, the fourth, ...
    return "".join(
        _sequence(part) if at % 2 else part.translate(codes) for at, part in enumerate(parts)
    )


def colour(code: str, stream: IO[str]) -> str:
    """Return what is written to `stream` where a colour begins, as `1;31`, or ends, as `0`."""
    return _control(f"{code}m", stream)


def erase_line(stream: IO[str]) -> str:
    """Return what is written to `stream`, a terminal, to take the line away that stands there."""
    return _control(_ERASE, stream)


def _control(sequence: str, stream: IO[str]) -> str:
    # A stream that shows control characters lets no sequence through but by a mark.
    shows = isinstance(stream, _VisibleStream)
    return f"\x1b[{_TAG}:{sequence}" if shows else _sequence(sequence)


def _sequence(sequence: str) -> str:
    return f"\r\x1b[{sequence}" if sequence == _ERASE else f"\x1b[{sequence}"


@cache
def _codes() -> dict[int, str]:
    """Return how each control character is shown, by its number."""
    found = {}
    for number in (*range(0xA0), 0x061C, *range(0x200E, 0x2070), *range(0xD800, 0xE000)):
        if re.match(_CONTROL, chr(number)):
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

    def writelines(self, lines: Iterable[str]) -> None:
        """Write some texts."""
        for line in lines:
            self.write(line)


@contextlib.contextmanager
def visible_streams(command: str) -> Iterator[None]:
    """Let stdout and stderr show control characters while a command runs.

    Stdout of a command in RAW is left as it is.
    """
    before = sys.stdout, sys.stderr
    sys.stderr = _VisibleStream(sys.stderr)
    if command not in RAW:
        sys.stdout = _VisibleStream(sys.stdout)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
