"""Finds the registry's phrases (PyTorch's, NCCL's, Slurm's, ...) in a text of megabytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from hpclaunch.diagnose.registry import COLLATERAL, PHRASES

FIRST_CAUSES = (
    "CUDA out of memory",
    "oom_kill event",
    "DUE TO ",
    "No space left on device",
    "Watchdog caught",
    "Traceback (most",
)
"""Searched for in the whole of a long log where its end tells nothing."""


_LABEL = re.compile(rb"^ *\d+: (?:\[[a-z]+\d+\]:)?")
"""What srun and torchrun put in front of a line: it begins after that."""


@cache
def _texts(name: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in PHRASES[name].texts)


@cache
def _confirmed(name: str) -> re.Pattern[bytes] | None:
    pattern = PHRASES[name].confirmed
    return re.compile(pattern.encode()) if pattern else None


def lines_with(name: str, text: bytes, most: int = 64) -> list[tuple[int, int]]:
    """Return begin and end of the lines with one of the phrases of a name.

    `most`: lines of each phrase.
    """
    lines: dict[int, tuple[int, int]] = {}
    confirmed = _confirmed(name)
    for phrase in _texts(name):
        kept = 0
        for begin, stop in _lines_with(phrase, text, PHRASES[name].latest):
            if confirmed is None or confirmed.search(_LABEL.sub(b"", text[begin:stop])):
                lines[begin] = (begin, stop)
                kept += 1
                if kept == most:
                    break
    return sorted(lines.values())


def _lines_with(phrase: bytes, text: bytes, backwards: bool) -> Iterator[tuple[int, int]]:
    """Return begin and end of the lines that have a phrase, from the first or from the last on."""
    at = text.rfind(phrase) if backwards else text.find(phrase)
    while at >= 0:
        begin = text.rfind(b"\n", 0, at) + 1
        stop = text.find(b"\n", at)
        stop = len(text) if stop < 0 else stop
        yield begin, stop
        at = text.rfind(phrase, 0, begin) if backwards else text.find(phrase, stop)


def has(name: str, text: bytes) -> bool:
    """Return whether a text has one of the phrases of a name."""
    return bool(lines_with(name, text, 1))


def collateral(text: bytes) -> set[str]:
    """Return the names of the phrases in a text that a rank prints when a peer is dead or slow."""
    return {name for name in COLLATERAL if has(name, text)}


def first(name: str, text: bytes, begin: int, stop: int) -> int:
    """Return where the first phrase of a name stands in a line that has one."""
    places = (text.find(phrase, begin, stop) for phrase in _texts(name))
    return min((at for at in places if at >= 0), default=begin)
