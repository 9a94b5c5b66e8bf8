"""A node's record as rows: every sample of every GPU and of the host, with its time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from monitors.records import GpuInfo, GpuTable, Record, Start, Tick
from monitors.samples.fields import Value, known_values
from monitors.storage.store import NodeStore


@dataclass(frozen=True, slots=True)
class RecordedNode:
    """The samples of one node."""

    node: str
    directory: Path
    """The folder with the node's files."""

    def records(self) -> Iterator[Record]:
        """All records in their order; lines that make no sense are passed over."""
        yield from NodeStore(self.directory, self.node).records()


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One sample of one GPU, or of the host where `gpu` is None. Only what is known."""

    wall: float
    time: str
    """ISO, in the node's zone."""
    node: str
    gpu: int | None
    uuid: str | None
    values: dict[str, Value]


def rows(source: RecordedNode) -> Iterator[SampleRow]:
    """Every row of a node."""
    zone: timezone = UTC
    table: dict[int, GpuInfo] = {}
    for record in source.records():
        match record:
            case Start():
                zone = zone_of(record)
                table = {info.index: info for info in record.gpus}
            case GpuTable():
                table = {info.index: info for info in record.gpus}
            case Tick():
                moment = iso(record.wall, zone)
                if moment is None:
                    continue
                values = known_values(record.host)
                yield SampleRow(record.wall, moment, source.node, None, None, values)
                for gpu in record.gpus or ():
                    info = table.get(gpu.index)
                    uuid = info.uuid if info else None
                    values = known_values(gpu)
                    yield SampleRow(record.wall, moment, source.node, gpu.index, uuid, values)


def zone_of(start: Start) -> timezone:
    """The zone of a recording; an offset of a day or more is garbage."""
    offset = start.utc_offset_s if abs(start.utc_offset_s) < 86400 else 0
    return timezone(timedelta(seconds=offset))


def iso(wall: float, zone: timezone) -> str | None:
    """A time in ISO form with milliseconds; None where no calendar has it."""
    try:
        return datetime.fromtimestamp(wall, zone).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None
