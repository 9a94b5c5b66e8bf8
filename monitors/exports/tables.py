"""The tables of `nvidia-smi dmon` and `vmstat`, in the local time of the node that was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, timezone

from monitors.exports.rows import RecordedNode, iso, zone_of
from monitors.external import dmon, vmstat
from monitors.records import Start, Tick


def dmon_text(sources: Iterable[RecordedNode]) -> Iterator[str]:
    """Rows of every GPU; nothing where none was sampled."""
    for source in sources:
        zone: timezone = UTC
        ticks = 0
        for record in source.records():
            if isinstance(record, Start):
                zone = zone_of(record)
            elif isinstance(record, Tick) and record.gpus and iso(record.wall, zone):
                if ticks % dmon.HEADER_EVERY == 0:
                    yield dmon.header()
                ticks += 1
                for gpu in record.gpus:
                    yield dmon.row(record.wall, gpu, zone)


def vmstat_text(sources: Iterable[RecordedNode]) -> Iterator[str]:
    """Rows of the host; samples without one (it cannot have a blank) are left out."""
    for source in sources:
        zone: timezone = UTC
        name = "UTC"
        number = 0
        for record in source.records():
            if isinstance(record, Start):
                zone, name = zone_of(record), "".join(record.zone.split()) or "UTC"
            elif isinstance(record, Tick) and record.vmstat and iso(record.wall, zone):
                if vmstat.header_due(number):
                    yield vmstat.header(record.wall, name)
                number += 1
                values = dict(zip(vmstat.COLUMNS, record.vmstat, strict=True))
                yield vmstat.row(record.wall, values, zone)
