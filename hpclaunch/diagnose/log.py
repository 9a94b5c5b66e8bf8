"""Reads a log once, however long: its end for every phrase, the rest for the likeliest few."""

from __future__ import annotations

import mmap
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from itertools import islice
from pathlib import Path

from hpclaunch.diagnose import patterns
from hpclaunch.diagnose.cause import Clue
from hpclaunch.diagnose.registry import ANYWHERE, COLLATERAL, PHRASES
from hpclaunch.frozen import frozen
from hpclaunch.run.lines import Line, parse_line
from hpclaunch.run.regular_file import open_regular

END = 2**22
"""Bytes at the end that are searched for every phrase: the last lines of hundreds of ranks fit."""
RECENT = 2**18
"""Bytes at the end that are searched for what a script, or a rank, said as it ended."""
DEEP = 2**28
"""Bytes before them that are searched for the likeliest phrases where the end has none."""
AROUND = 2**16
"""Bytes that are searched around a phrase found further up."""
COUNTED = 2**30
"""Bytes up to which lines are numbered: counting them takes 0.1 s for 100 MB."""
KEPT = 64
"""Lines kept of each name's phrases, from the first on."""
LINE = 2000
"""Bytes kept of a line."""
CHUNK = 2**22

NEAR_END = 60
"""Lines that may come after what ended a script: of Slurm, of the launchers, a traceback."""
MOST_BUFFERED = 3
"""Lines of progress that ranks may still print after one has failed."""
PROGRESS = re.compile(rb"\bloss\b\W{1,4}\d|\b[Ss]tep\W{1,3}\d|\b[Ee]poch\W{1,4}\d")
"""A training prints it while it goes on."""

NOT_THE_ROOT = {"script", "time_limit", "cancelled", "exited", "root", *COLLATERAL}
"""Phrases that do not show where it began: a longer search may."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T_ ]\d\d:\d\d:\d\d|\b[IWEF]\d{4} (\d\d:\d\d:\d\d)")

_START = re.compile(rb"^hpclaunch: job \d+, (?:attempt|start) \d+$", re.MULTILINE)
"""The first line of an attempt; `start` in older logs."""

_STAMP = re.compile(rb"\b(\d{4}-\d\d-\d\d)[T_ ](\d\d:\d\d:\d\d)")


@frozen
class Log:
    """What one file shows."""

    file: Path | None = None
    matches: Mapping[str, tuple[Clue, ...]] = field(default_factory=dict)
    """Lines by the name of the phrases that they have, in the order of the file."""
    text: bytes = b""
    """The file's end, from the last start of the job on."""
    begin: int = 0
    """Number of lines before `text`."""
    last: tuple[Clue, ...] = ()
    """The last lines that say anything."""

    def is_at_end(self, clue: Clue) -> bool:
        """Return whether a line is one of the last, and no training went on after it."""
        if clue.line is None or clue.line <= self.begin:
            return clue.line is None
        after = self.text.split(b"\n", clue.line - self.begin)[-1]
        return after.count(b"\n") <= NEAR_END and not PROGRESS.search(after)

    def went_on(self, clue: Clue) -> bool:
        """Return whether the training went on after a line, for more than a few lines."""
        if clue.line is None or clue.line <= self.begin:
            return False
        after = self.text.split(b"\n", clue.line - self.begin)[-1]
        lines = (line for line in after.split(b"\n") if PROGRESS.search(line))
        return sum(1 for _ in islice(lines, MOST_BUFFERED + 1)) > MOST_BUFFERED

    def end(self) -> str:
        """Return the last lines without their labels, from the last sign of progress on."""
        lines = self.text[-AROUND:].split(b"\n")[-NEAR_END:]
        at = max((at for at, line in enumerate(lines) if PROGRESS.search(line)), default=-1)
        texts = [line.decode("utf-8", errors="replace") for line in lines[at + 1 :]]
        return "\n".join(parse_line(text).text for text in texts)


def read(file: Path | None, end: int = END, deep: bool = True, since: float | None = None) -> Log:
    """Read a log; one that is missing or cannot be read is empty.

    `deep`: where the last `end` bytes show no failure, the rest is searched too.
    `since`: Unix seconds; what stands above a line of an earlier time is of an earlier start.
    """
    if file is None:
        return Log()
    try:
        with open_regular(file) as stream:
            size = stream.seek(0, 2)
            if not size:
                return Log(file)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(file, data, end, deep, since)
    except (OSError, ValueError):  # ValueError: emptied between the two reads
        return Log(file)


def _read(file: Path, data: mmap.mmap, end: int, deep: bool, since: float | None) -> Log:
    start = _line_start(data, max(0, len(data) - end))
    text = data[start:]
    again = max(_last_start(text), _end_before(text, since))
    start, text = start + again, text[again:]
    numbers = _LineNumbers(data)
    matches: dict[str, list[Clue]] = {}
    # A mapped file is not for long: what is taken from it is copied out here.
    _collect(file, text, start, numbers, matches, ANYWHERE)
    recent = max(0, text.rfind(b"\n", 0, max(0, len(text) - RECENT)) + 1)
    _collect(file, text[recent:], start + recent, numbers, matches, PHRASES.keys() - ANYWHERE)
    if deep and start and not again and matches.keys() <= NOT_THE_ROOT:
        for at in _further_up(data, start):
            begin = _line_start(data, max(0, at - AROUND))
            near = data[begin : min(start, at + AROUND)]
            _collect(file, near, begin, numbers, matches, ANYWHERE)
    lines = {name: tuple(clues) for name, clues in matches.items()}
    return Log(file, lines, text, numbers.before(start) or 0, tuple(_last(file, text)))


def _last_start(text: bytes) -> int:
    """Return where the newest start of a requeued job begins: the log goes on in the same file."""
    at = text.rfind(b"DUE TO JOB REQUEUE")
    starts = list(_START.finditer(text))
    return max(text.find(b"\n", at) + 1 if at >= 0 else 0, starts[-1].start() if starts else 0)


def _end_before(text: bytes, since: float | None) -> int:
    """Return where the last line ends that bears an earlier time, on this machine's clock."""
    if since is None:
        return 0
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since)).encode()
    earlier = (m.end() for m in _STAMP.finditer(text) if m[1] + b" " + m[2] < stamp)
    at = max(earlier, default=0)
    return text.find(b"\n", at) + 1 or len(text) if at else 0


def _further_up(data: mmap.mmap, stop: int) -> Iterator[int]:
    """Yield the first and the last place of each likely phrase, in the order of the file."""
    places = set()
    since = max(0, stop - DEEP)
    for phrase in patterns.FIRST_CAUSES:
        first = data.find(phrase.encode(), since, stop)
        if first >= 0:
            places |= {first, data.rfind(phrase.encode(), since, stop)}
    reached = -1
    for at in sorted(places):
        if at > reached:
            reached = at + AROUND
            yield at


def _collect(
    file: Path,
    text: bytes,
    offset: int,
    numbers: _LineNumbers,
    matches: dict[str, list[Clue]],
    names: Collection[str],
) -> None:
    """Add the lines of a part of the file that have a phrase of some names."""
    lines = {name: places for name in names if (places := patterns.lines_with(name, text, KEPT))}
    begins = sorted({begin for places in lines.values() for begin, _ in places})
    number = {begin: numbers.at(offset + begin) for begin in begins}
    for name, places in lines.items():
        for begin, stop in places:
            line = parse_line(_cut(text, begin, stop, name).decode("utf-8", errors="replace"))
            matches.setdefault(name, []).append(clue(line, file, number[begin]))


def _cut(text: bytes, begin: int, stop: int, name: str) -> bytes:
    """Return a line; of a very long one (a program without line ends) the part with the phrase."""
    if stop - begin <= LINE:
        return text[begin:stop]
    at = patterns.first(name, text, begin, stop)
    return text[max(begin, at - LINE // 2) : min(stop, at + LINE // 2)]


def clue(line: Line, file: Path, number: int | None) -> Clue:
    """Return a line of a log as evidence."""
    return Clue(tidy(line.text), file, number, time_in(line.text), line.node, line.local_rank)


def tidy(text: str) -> str:
    """Write what a terminal must not be sent, as colours and cursor moves, as nothing."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return "".join(c if c.isprintable() else " " for c in plain).strip()


def time_in(text: str) -> str:
    """Return the time that a line carries, '' where it has none."""
    match = _TIME.search(text[:400])
    return (match.group(1) or match.group(0).replace("_", " ").replace("T", " ")) if match else ""


def _line_start(data: mmap.mmap, at: int) -> int:
    """Return where the first whole line at or after a place begins."""
    if at == 0:
        return 0
    newline = data.find(b"\n", at, at + CHUNK)
    return newline + 1 if newline >= 0 else at


def _last(file: Path, text: bytes) -> Iterator[Clue]:
    """Return the last lines with words in them, from the last 64 KiB."""
    lines = text[-AROUND:].decode("utf-8", errors="replace").splitlines()
    lines_with_text = [line for line in map(parse_line, lines) if re.search(r"\w", line.text)]
    for line in lines_with_text[-8:]:
        yield clue(line, file, None)


class _LineNumbers:
    """Line numbers of places in a file, counted once and from the place before on."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0
        self._lines = 0

    def before(self, at: int) -> int | None:
        """Return the number of lines that end before a place, None in a file too long to count."""
        if len(self._data) > COUNTED:
            return None
        if at < self._at:
            self._at = self._lines = 0
        for begin in range(self._at, at, CHUNK):
            self._lines += self._data[begin : min(at, begin + CHUNK)].count(b"\n")
        self._at = at
        return self._lines

    def at(self, at: int) -> int | None:
        """Return the number of the line that begins at a place."""
        lines = self.before(at)
        return None if lines is None else lines + 1
