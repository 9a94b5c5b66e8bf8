"""The ranks' lines in the job's log, looked up often and gone through once."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property

from hpclaunch.diagnose.log import PROGRESS, Log
from hpclaunch.run.lines import parse_line

JOB_TAIL = 2**20
"""Bytes at the end of the job's log that are searched for the ranks' lines."""
MOST_LATE = 2
"""Lines of progress of a rank that may come after an error that it did not survive: torchrun copies
what a rank prints, and its errors, one after the other."""

LEAST_PLACE = 24
"""Characters of an error that show where it stands."""

_LABEL = re.compile(rb" *\d+: \[[a-z]+\d+\]:")
_ENDING = (
    b"[rank", b"frame #", b"terminate called", b"what():", b"Fatal Python error",
    b"CUDA kernel errors", b"Exception raised from",
)  # fmt: skip
"""How the lines begin that compiled code prints as it ends a process: those are no going on."""


class JobLines:
    """What stands in the job's log after a rank's error, and each rank's lines."""

    def __init__(self, log: Log) -> None:
        self.log = log

    @cached_property
    def by_rank(self) -> dict[tuple[int, int], tuple[list[int], list[str]]]:
        """Numbers and texts of each rank's lines at the log's end, by node and local rank."""
        text = self.log.text
        start = max(0, len(text) - JOB_TAIL)
        number = self.log.begin + text.count(b"\n", 0, start)
        found: dict[tuple[int, int], tuple[list[int], list[str]]] = {}
        for raw in text[start:].split(b"\n"):
            number += 1
            line = parse_line(raw.decode("utf-8", errors="replace"))
            if line.node is not None and line.local_rank is not None:
                numbers, texts = found.setdefault((line.node, line.local_rank), ([], []))
                numbers.append(number)
                texts.append(line.text)
        return found

    @cached_property
    def _progress(self) -> list[int]:
        """Where the log's lines begin that show progress."""
        text = self.log.text
        places = (text.rfind(b"\n", 0, match.start()) + 1 for match in PROGRESS.finditer(text))
        return sorted(set(places))

    def went_on(self, error: str) -> bool:
        """Return whether the training went on after an error: it was survived."""
        if not self._progress:
            return False
        at = self._place(error)
        counts: dict[bytes, int] = {}
        for place in self._progress[bisect_right(self._progress, at) :] if at >= 0 else ():
            label = _LABEL.match(self.log.text, place)
            name = label.group() if label else b""
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > MOST_LATE:
                return True
        return False

    def progressed(self, error: str, node: int, local: int) -> bool:
        """Return whether a rank printed progress after its error, if only once."""
        at = self._place(error)
        later = self._progress[bisect_right(self._progress, at) :] if at >= 0 else ()
        labels = _labels(node, local)
        return any(self.log.text.startswith(labels, place) for place in later)

    def said_after(self, error: str, node: int, local: int, known: set[bytes]) -> bool:
        """Return whether a rank printed more after its error than the lines that are known."""
        at = self._place(error)
        labels = _labels(node, local)
        for line in self.log.text[at:].split(b"\n")[1:] if at >= 0 else ():
            if line.startswith(labels):
                words = unranked(line[len(labels[0]) :])
                if words and words not in known and not words.startswith(_ENDING):
                    return True
        return False

    def _place(self, error: str) -> int:
        """Return where an error stands last in the log; -1 where it does not."""
        begin = error.partition(". Last error: ")[0].encode("utf-8", errors="replace")
        least = max(LEAST_PLACE, begin.find(b": ") + 3)  # the exception's name alone is no place
        while len(begin) >= least or (begin and len(error) < least):
            at = self.log.text.rfind(begin)
            if at >= 0 or len(begin) <= least:
                return at
            begin = begin[: max(least, len(begin) * 3 // 4)]  # its last words stood a line below
        return -1


def _labels(node: int, local: int) -> tuple[bytes, ...]:
    """Return what may stand in front of a rank's lines."""
    return tuple(f"{node}: [{kind}{local}]:".encode() for kind in ("gpu", "cpu"))


def unranked(line: bytes) -> bytes:
    """Return a line without the rank that torch puts in front of it, and without space."""
    return re.sub(rb"^\[rank\d+\]: ?", b"", line.strip())
