"""A node's record into its summary and its columns over time, in whole blocks where it can be."""

from __future__ import annotations

from monitors.array_tally import GPU_WANTED, HOST_WANTED, ArrayTally
from monitors.block_arrays import TickArrays, arrays
from monitors.formats.unpacked import Block
from monitors.shares import GPU_COLUMNS, HOST_COLUMNS
from monitors.store import NodeStore
from monitors.trace import TraceBuilder

_HOST = {*HOST_WANTED, *HOST_COLUMNS}
_GPU = {*GPU_WANTED, *GPU_COLUMNS}


def gather(store: NodeStore, tally: ArrayTally, trace: TraceBuilder) -> None:
    """Pass a node's record on to both, as far as it can be in whole blocks."""
    for piece in store.pieces():
        if not isinstance(piece, Block):
            tally.add(piece)
            trace.add(piece)
            continue
        ticks = _arrays(piece)
        if ticks is not None:
            tally.add_ticks(ticks)
            if trace.add_ticks(ticks):
                continue
        for record in store.unpacked(piece):  # a clock was set, or it is no sidecar's
            if ticks is None:
                tally.add(record)
            trace.add(record)


def _arrays(block: Block) -> TickArrays | None:
    try:
        return arrays(block, _HOST, _GPU)
    except (ValueError, KeyError, OverflowError):
        return None
