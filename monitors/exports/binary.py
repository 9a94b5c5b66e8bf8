"""Parquet and TensorBoard: formats that need a package of their own."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from monitors.exports.rows import Source, rows
from monitors.samples.fields import GPU_FIELDS, HOST_FIELDS

_GROUP = 50_000
"""Rows of one group of a Parquet file, and so the most that are held in memory."""


def parquet(source: Source, path: Path) -> Path:
    """One table: rows of the host have no `gpu`. Raises ModuleNotFoundError without pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = (*GPU_FIELDS, *HOST_FIELDS)
    schema = pa.schema(
        [
            ("time", pa.timestamp("ms", tz="UTC")),
            ("node", pa.string()),
            ("gpu", pa.int32()),
            ("uuid", pa.string()),
            *((name, pa.float64()) for name in names),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        left = rows(source)
        while group := list(islice(left, _GROUP)):
            columns: dict[str, list[Any]] = {
                "time": [round(row.wall * 1000) for row in group],
                "node": [row.node for row in group],
                "gpu": [row.gpu for row in group],
                "uuid": [row.uuid for row in group],
            }
            for name in names:
                columns[name] = [_float(row.values.get(name)) for row in group]
            writer.write_table(pa.table(columns, schema=schema))
    return path


def tensorboard(source: Source, folder: Path) -> Path:
    """Scalars over the seconds since the first sample. Raises ModuleNotFoundError without it."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    first: float | None = None
    for row in rows(source):
        first = row.wall if first is None else first
        place = "node" if row.gpu is None else f"gpu{row.gpu}"
        values = [
            Summary.Value(tag=f"{place}/{name}", simple_value=value)
            for name, value in row.values.items()
        ]
        step = max(0, round(row.wall - first))
        writer.add_event(Event(wall_time=row.wall, step=step, summary=Summary(value=values)))
    writer.close()
    return folder


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
