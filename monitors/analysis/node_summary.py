"""A node's record into its summary and its columns over time, in whole blocks where it can be."""

from __future__ import annotations

from monitors.analysis.array_tally import GPU_WANTED, HOST_WANTED, ArrayTally
from monitors.analysis.columns import GPU_COLUMNS, HOST_COLUMNS
from monitors.analysis.trace import TraceBuilder
from monitors.storage.block_arrays import TickArrays, arrays, joined
from monitors.storage.formats.block_reader import Block
from monitors.storage.store import NodeStore

_AT_ONCE = 256
"""Blocks: the more, the less is done over and over; and the more memory it takes."""
_HOST = {*HOST_WANTED, *HOST_COLUMNS}
_GPU = {*GPU_WANTED, *GPU_COLUMNS}


def gather(store: NodeStore, tally: ArrayTally, trace: TraceBuilder) -> None:
    """Pass a node's record on to both, many blocks at a time where it can be."""
    held: list[tuple[Block, TickArrays]] = []

    def hand_on() -> None:
        if held:
            ticks = joined([found for _, found in held])
            tally.add_ticks(ticks)
            if not trace.add_ticks(ticks):  # a clock was set
                for block, _ in held:
                    for record in store.unpacked(block):
                        trace.add(record)
        held.clear()

    for piece in store.pieces():
        ticks = _arrays(piece) if isinstance(piece, Block) else None
        if held and (ticks is None or ticks.gpus != held[0][1].gpus or len(held) >= _AT_ONCE):
            hand_on()
        if isinstance(piece, Block) and ticks is not None:
            held.append((piece, ticks))
            continue
        # A record, or a block that no sidecar wrote.
        for record in store.unpacked(piece) if isinstance(piece, Block) else (piece,):
            tally.add(record)
            trace.add(record)
    hand_on()


def _arrays(block: Block) -> TickArrays | None:
    try:
        return arrays(block, _HOST, _GPU)
    except (ValueError, KeyError, OverflowError):
        return None
