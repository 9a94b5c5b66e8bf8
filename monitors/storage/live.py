"""The last minutes of every node of a folder, followed while they are written.

The first refresh reads the end of each file; later ones only what was appended since, so that a
refresh of many nodes once a second costs little.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from monitors.records import End, GpuInfo, GpuTable, HostSample, Note, Record, Start, Tick
from monitors.regular_file import open_regular
from monitors.storage import filenames
from monitors.storage.clock_offset import ClockOffsetEstimate
from monitors.storage.formats.json_lines import SamplesReader
from monitors.storage.newest import FileIdentity, ending, identity_of

HISTORY_S = 180.0
"""Seconds of samples that are held in memory."""
_MOST_POINTS = 1800
_FIRST = (1 << 16, 1 << 19)
"""Least and most bytes that are read of a node at first."""
_FIRST_OF_ALL = 1 << 23
"""Bytes that are read of all nodes together, as far as the least for each allows."""
_FAR = 1 << 20
"""Bytes appended since the last refresh from which the end is read anew."""
_MOST_NOTES = 20
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Point:
    """A tick, with the traffic since the one before it in MB/s (10^6 bytes); None is not known."""

    tick: Tick
    net_rx_mb_s: float | None = None
    net_tx_mb_s: float | None = None
    ib_rx_mb_s: float | None = None
    ib_tx_mb_s: float | None = None


@dataclass(frozen=True, slots=True)
class NodeNow:
    """What is known of one node at a time."""

    node: str
    start: Start | None = None
    gpus: tuple[GpuInfo, ...] = ()
    """As last listed, by the start or, where the driver was late, after it."""
    points: tuple[Point, ...] = ()
    """The last minutes of the recording, oldest first."""
    age_s: float | None = None
    """Seconds since the newest point was taken; None where there is none."""
    end: End | None = None
    """Set where the recording ended in order."""
    notes: tuple[Note, ...] = ()

    @property
    def newest(self) -> Point | None:
        """The last point."""
        return self.points[-1] if self.points else None

    @property
    def interval_s(self) -> float:
        """Seconds between two ticks."""
        found = self.start.interval_s if self.start else 1.0
        return found if 0.01 <= found <= 86400 else 1.0

    @property
    def silent(self) -> bool:
        """Whether ticks are overdue, and nothing says that the recording has ended."""
        late = self.age_s is not None and self.age_s > max(10.0, 5 * self.interval_s)
        return late and self.end is None

    @property
    def current(self) -> bool:
        """Whether the newest point is of now."""
        return bool(self.points) and not self.silent and self.end is None


class Live:
    """Follows the nodes of one folder. Not to be used by two threads at once."""

    def __init__(self, folder: Path, only: Collection[str] | None = None) -> None:
        """`only`: names of the nodes to follow; None: all that are there."""
        self._folder, self._only = folder, only
        self._nodes: dict[str, _NodeTail] = {}

    def refresh(self, now: float) -> tuple[NodeNow, ...]:
        """Return all nodes of the folder at `now` (Unix seconds of this machine), in natural order.

        Never raises for what the files hold or lack.
        """
        try:
            names = filenames.nodes_in(self._folder)
        except OSError:
            names = ()
        if self._only is not None:
            names = tuple(name for name in names if name in self._only)
        self._nodes = {
            name: self._nodes.get(name) or _NodeTail(self._folder, name) for name in names
        }
        share = _FIRST_OF_ALL // max(1, len(names))
        least = min(_FIRST[1], max(_FIRST[0], share))
        return tuple(node.refresh(now, least) for node in self._nodes.values())


class _NodeTail:
    def __init__(self, folder: Path, node: str) -> None:
        self._path, self._node = filenames.path_of(folder, node, filenames.SAMPLES), node
        self._file: FileIdentity | None = None
        self._offset = 0
        self._clock_offset = ClockOffsetEstimate()
        self._clear()

    def _clear(self) -> None:
        self._start: Start | None = None
        self._gpus: tuple[GpuInfo, ...] = ()
        self._points: deque[Point] = deque(maxlen=_MOST_POINTS)
        self._end: End | None = None
        self._notes: deque[Note] = deque(maxlen=_MOST_NOTES)

    def refresh(self, now: float, least: int) -> NodeNow:
        before = self._points[-1] if self._points else None
        self._read(least)
        age = None
        if self._points:
            last = self._points[-1]
            age = self._clock_offset.age(last.tick.wall, now, new=last is not before)
        return NodeNow(
            self._node,
            self._start,
            self._gpus,
            tuple(self._points),
            age,
            self._end,
            tuple(self._notes),
        )

    def _read(self, least: int) -> None:
        try:
            with open_regular(self._path) as file:
                size = os.fstat(file.fileno()).st_size
                near = self._offset <= size <= self._offset + _FAR
                if near and identity_of(file) == self._file:
                    file.seek(self._offset)
                    self._add_lines(file.read(size - self._offset))
                    return
        except OSError:
            return  # what was read before stands, and grows old
        self._read_anew(least)

    def _add_lines(self, data: bytes) -> None:
        *whole, torn = data.split(b"\n")
        self._offset += len(data) - len(torn)
        for record in SamplesReader(line.decode(errors="replace") + "\n" for line in whole):
            self._add(record)

    def _read_anew(self, least: int) -> None:
        found = ending(self._path, least)
        start, points = self._start, self._points
        self._clear()
        self._file, self._offset = found.file, found.size
        for record in found.records():
            self._add(record)
        if start is not None and start == self._start and self._points:
            # The file was begun anew with its last lines: what is known from before goes on.
            first, last = self._points[0].tick.mono, self._points[-1].tick.mono
            older = [point for point in points if last - HISTORY_S <= point.tick.mono < first]
            self._points = deque([*older, *self._points], maxlen=_MOST_POINTS)

    def _add(self, record: Record) -> None:
        match record:
            case Start():
                self._start, self._gpus, self._end = record, record.gpus, None
                self._points.clear()
            case GpuTable():
                self._gpus = record.gpus
            case Tick():
                last = self._points[-1].tick if self._points else None
                self._points.append(_point(record, last))
                while self._points[0].tick.mono < record.mono - HISTORY_S:
                    self._points.popleft()
            case Note():
                self._notes.append(record)
            case End():
                self._end = record


def _point(tick: Tick, before: Tick | None) -> Point:
    if before is None or not 0 < tick.mono - before.mono < HISTORY_S:
        return Point(tick)
    seconds = tick.mono - before.mono

    def rate(name: str) -> float | None:
        old, new = _counter(before.host, name), _counter(tick.host, name)
        # A counter that fell was begun anew: what it has since is not known.
        return None if old is None or new is None or new < old else (new - old) / seconds / _MB

    return Point(
        tick,
        rate("net_rx_bytes"),
        rate("net_tx_bytes"),
        rate("ib_rx_bytes"),
        rate("ib_tx_bytes"),
    )


def _counter(host: HostSample, name: str) -> int | None:
    found: int | None = getattr(host, name)
    return found
