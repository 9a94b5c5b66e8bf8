"""TensorBoard's event files: every value as a scalar, by GPU and of the node."""

from __future__ import annotations

from pathlib import Path

from monitors.exports.rows import RecordedNode, rows


def write_tensorboard(source: RecordedNode, folder: Path) -> None:
    """Write scalars over the seconds since the first sample into `folder`.

    Raises ModuleNotFoundError without the package tensorboard, and OSError.
    """
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
