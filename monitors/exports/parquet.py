"""Parquet, straight from the blocks' arrays: no object is made of a value.

One table a node. A row is one sample of one GPU, or of the host where `gpu` is null. Rows come in
groups of some minutes, in each first the host's, then those of one GPU after the other; so a reader
that wants them by time sorts them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from monitors.exports.rows import RecordedNode
from monitors.records import GpuSample, GpuTable, HostSample, Start, Tick
from monitors.samples.fields import GPU_FIELDS, GPU_METRICS, HOST_FIELDS, HOST_METRICS
from monitors.storage.block_arrays import FloatArray, TickArrays, arrays, joined
from monitors.storage.formats.block_reader import Block
from monitors.storage.store import NodeStore

GROUP_ROWS = 1 << 16
"""Rows from which a group is written: what bounds the memory, at some 60 MB."""
_MOST_ALONE = 8192
"""Ticks that do not come from blocks, at most, of one piece."""
_YEARS_1_TO_9999 = (-62_135_596_800.0, 253_402_300_799.0)
"""Unix seconds that a calendar has; a time outside is damage."""
_COMPRESSION = {"compression": "zstd", "compression_level": 3}
_DESCRIBED = {
    "time": "When the sample was taken, by the node's clock.",
    "node": "Name of the node.",
    "gpu": "Number of the GPU on its node; null in the rows of the host.",
    "uuid": "The GPU's UUID; null where it is not known.",
}


def write_parquet(source: RecordedNode, path: Path) -> None:
    """Write the record of a node. Raises ModuleNotFoundError without pyarrow, and OSError."""
    import pyarrow.parquet as pq

    schema = _schema()
    with pq.ParquetWriter(path, schema, **_COMPRESSION) as writer:
        for ticks, uuids in _groups(NodeStore(source.directory, source.node)):
            writer.write_table(_table(schema, source.node, ticks, uuids))


def _schema() -> Any:
    """FloatArray names end with their units; what a column means stands in its metadata.

    The same stands as JSON under `columns` in the file's own metadata, for readers that have no
    notion of a column's.
    """
    import pyarrow as pa

    columns = {name: {"description": text} for name, text in _DESCRIBED.items()} | {
        name: {"description": metric.help, "unit": metric.unit}
        for name, metric in (GPU_METRICS | HOST_METRICS).items()
    }
    kinds = {
        "time": pa.timestamp("ms", tz="UTC"),
        "node": pa.string(),
        "gpu": pa.int32(),
        "uuid": pa.string(),
    }
    fields = [
        pa.field(name, kinds.get(name, pa.float64()), metadata=described)
        for name, described in columns.items()
    ]
    return pa.schema(fields, metadata={"columns": json.dumps(columns)})


def _groups(store: NodeStore) -> Iterator[tuple[TickArrays, dict[int, str | None]]]:
    """The ticks of a record in groups of one set of GPUs, and the UUIDs of these."""
    held: list[TickArrays] = []
    uuids: dict[int, str | None] = {}
    for piece in _pieces(store):
        if isinstance(piece, TickArrays):
            # Ticks in which the GPUs did not answer go with any others.
            gpus = held[0].gpus if held and not len(piece.answered) else piece.gpus
            if held and (gpus != held[0].gpus or sum(map(_rows, held)) >= GROUP_ROWS):
                yield joined(held), uuids
                held = []
            held.append(
                replace(piece, gpus=gpus, gpu_values=piece.gpu_values if gpus == piece.gpus else {})
            )
        else:
            if held:
                yield joined(held), uuids
                held = []
            uuids = {info.index: info.uuid for info in piece.gpus}
    if held:
        yield joined(held), uuids


def _pieces(store: NodeStore) -> Iterator[TickArrays | Start | GpuTable]:
    """Blocks as they are; ticks that stand alone, as the newest do, many at a time."""
    alone: list[Tick] = []
    for piece in store.pieces():
        ticks = _arrays(piece) if isinstance(piece, Block) else None
        # Otherwise it is a record, or a block with something that no sidecar writes.
        records = store.unpacked(piece) if isinstance(piece, Block) else (piece,)
        for record in (ticks,) if ticks is not None else records:
            if isinstance(record, Tick):
                if not _dated(np.array([record.wall], np.float64)):
                    continue
                if alone and (_gpus(alone[0]) != _gpus(record) or len(alone) >= _MOST_ALONE):
                    yield _from_ticks(alone)
                    alone = []
                alone.append(record)
            elif isinstance(record, TickArrays | Start | GpuTable):
                if alone:
                    yield _from_ticks(alone)
                    alone = []
                yield record
    if alone:
        yield _from_ticks(alone)


def _arrays(block: Block) -> TickArrays | None:
    try:
        ticks = arrays(block, HOST_FIELDS, GPU_FIELDS)
    except (ValueError, KeyError, OverflowError):
        return None
    return ticks if _dated(ticks.wall) else None


def _dated(wall: FloatArray) -> bool:
    return bool(((wall > _YEARS_1_TO_9999[0]) & (wall < _YEARS_1_TO_9999[1])).all())


def _rows(ticks: TickArrays) -> int:
    return len(ticks.wall) + len(ticks.gpus) * len(ticks.answered)


def _gpus(tick: Tick) -> tuple[int, ...] | None:
    return None if tick.gpus is None else tuple(gpu.index for gpu in tick.gpus)


def _from_ticks(ticks: Sequence[Tick]) -> TickArrays:
    """Ticks of the same GPUs, of which all answered or none did."""
    gpus = _gpus(ticks[0])
    samples = [[(tick.gpus or ())[row] for tick in ticks] for row in range(len(gpus or ()))]
    answered = 0 if gpus is None else len(ticks)
    shape = (len(samples), answered)
    return TickArrays(
        n=np.arange(len(ticks)),
        wall=np.array([tick.wall for tick in ticks], np.float64),
        mono=np.array([tick.mono for tick in ticks], np.float64),
        host={name: _column(name, [tick.host for tick in ticks]) for name in HOST_FIELDS},
        own={},
        gpus=gpus or (),
        answered=np.arange(answered),
        gpu_values={
            name: np.array([_column(name, row) for row in samples]).reshape(shape)
            for name in GPU_FIELDS
        },
    )


def _column(name: str, samples: Sequence[HostSample | GpuSample]) -> FloatArray:
    values = (getattr(sample, name) for sample in samples)
    return np.array([np.nan if value is None else float(value) for value in values], np.float64)


def _table(schema: Any, node: str, ticks: TickArrays, uuids: Mapping[int, str | None]) -> Any:
    """The rows of the host, then those of each GPU."""
    import pyarrow as pa

    answers = len(ticks.answered)
    counts = (len(ticks.wall), len(ticks.gpus) * answers)

    def column(name: str, host: FloatArray | None, gpu: FloatArray | None) -> Any:
        kind = schema.field(name).type
        parts = [
            pa.nulls(count, kind)
            if values is None
            else pa.array(values.ravel(), pa.float64(), from_pandas=True)
            for values, count in zip((host, gpu), counts, strict=True)
        ]
        return pa.chunked_array(parts, kind)

    walls = np.concatenate([ticks.wall, np.tile(ticks.wall[ticks.answered], len(ticks.gpus))])
    rows_of_gpus = np.repeat(np.arange(len(ticks.gpus), dtype=np.int32), answers)
    hosts = pa.nulls(counts[0], pa.int32())

    def by_gpu(values: list[Any], kind: Any) -> Any:
        chosen = pa.array(values, kind).take(pa.array(rows_of_gpus))
        return pa.chunked_array([hosts.cast(kind), chosen], kind)

    milliseconds = pa.array(np.round(walls * 1000).astype(np.int64))
    columns = {
        "time": milliseconds.cast(schema.field("time").type),
        "node": pa.repeat(node, sum(counts)),
        "gpu": by_gpu(list(ticks.gpus), pa.int32()),
        "uuid": by_gpu([uuids.get(index) for index in ticks.gpus], pa.string()),
        **{name: column(name, None, ticks.gpu_values.get(name)) for name in GPU_FIELDS},
        **{name: column(name, ticks.host.get(name), None) for name in HOST_FIELDS},
    }
    return pa.table(columns, schema=schema)
