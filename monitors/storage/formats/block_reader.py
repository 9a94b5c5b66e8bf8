"""Blocks back into ticks, by the standard library alone.

`monitors.storage.formats.block_writer` describes the format; `monitors.storage.block_arrays` reads
it into arrays.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from monitors.storage.formats.block_writer import CRC, FORMAT, Raw
from monitors.storage.formats.column_encoding import LOWEST

KINDS = ("i", "u", "d", *range(7))
_NEEDED = {"n", "wall", "mono"}
ORDERS = (0, 1, 2)
WIDTHS = (0, 1, 2, 4, 8)
_MOST_TICKS, _MOST_GPUS, _MOST_CELLS = 1 << 20, 1 << 10, 1 << 26
"""Far above what is written; the last in bytes. No file may fill the memory."""
_MOST_VALUES = 1 << 20
"""Of a block. A constant column takes no bytes, so that the cells' bytes do not bound the values.
What the recorder writes comes from 1.5 MB of lines: less than a million values."""
_MOST_VALUES_A_BYTE = 512
"""Of a block's payload. Idle GPUs, whose columns are constant, have some 100."""


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """One column of a block: where its bytes are, and what they mean."""

    name: str
    kind: str | int
    order: int
    width: int
    base: int
    known: int
    count: int
    """Values, known or not."""
    mask: int
    """Offset of the bytes that say which values are known; -1 where all are."""
    begin: int
    """Offset of the numbers."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block whose checksum was right."""

    ticks: int
    answered: int
    gpus: tuple[int, ...]
    columns: tuple[ColumnLayout, ...]
    cells: bytes


def decode_block(line: bytes, payload: bytes) -> Block:
    """Return a block from its line and its payload. Raises ValueError where it is damaged."""
    head = json.loads(line)
    begin = line[: line.rindex(CRC)]
    if (
        not isinstance(head, dict)
        or head.get("format") != FORMAT
        or zlib.crc32(payload, zlib.crc32(begin)) != head.get("crc")
    ):
        raise ValueError("damaged, or of a later format")
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(payload, _MOST_CELLS)
        ticks, at = head["ticks"], data.index(b"\n") + 1
        table = json.loads(data[:at])
        gpus, answered = tuple(table["gpus"]), table["answered"]
        if not (0 <= answered <= ticks <= _MOST_TICKS and len(gpus) <= _MOST_GPUS):
            raise ValueError("no such block")
        columns = []
        values, most_values = 0, min(_MOST_VALUES, _MOST_VALUES_A_BYTE * (len(payload) + 256))
        for name, kind, order, width, base, known in table["columns"]:
            count = answered * len(gpus) if name.startswith("gpu.") else ticks
            values += count
            if values > most_values:
                raise ValueError("more values than a block has")
            if not (
                kind in KINDS
                and order in ORDERS
                and width in WIDTHS
                and LOWEST <= base < -LOWEST
                and 0 <= known <= count
            ):
                raise ValueError("no such column")
            mask = -1 if known == count else at
            begins = at + count * (mask >= 0)
            if mask >= 0 and count - data.count(0, mask, begins) != known:
                raise ValueError("a column with more or fewer values than its mask says")
            columns.append(ColumnLayout(name, kind, order, width, base, known, count, mask, begins))
            at = begins + known * width
        if at != len(data) or not unpacker.eof:
            raise ValueError("the cells do not end where they should")
    except (KeyError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise ValueError(f"no block: {error}") from None
    whole = {column.name for column in columns if column.known == column.count}
    if not whole.issuperset(_NEEDED):
        raise ValueError("a block without times")
    return Block(ticks, answered, gpus, tuple(columns), data)


def ticks_of(block: Block) -> Iterator[Raw]:
    """Yield the ticks of a block, as they would be parsed from their lines."""
    columns = {column.name: _values(column, block.cells) for column in block.columns}
    flags = columns.pop("gpus", [int(block.answered > 0)] * block.ticks)
    answered = 0
    for at in range(block.ticks):
        tick: Raw = {"kind": "tick", "host": {}}
        row = []
        gpus: list[dict[str, Any]] = [{"index": index} for index in block.gpus]
        for name, values in columns.items():
            part, dot, rest = name.partition(".")
            if part == "gpu":
                for number, gpu in enumerate(gpus if flags[at] else ()):
                    value = values[number * block.answered + answered]
                    if value is not None:
                        gpu[rest] = value
            elif values[at] is None:
                continue
            elif part == "vmstat":
                row.append(values[at])
            elif dot:
                tick.setdefault(part, {})[rest] = values[at]
            else:
                tick[name] = values[at]
        if flags[at]:
            tick["gpus"] = gpus
            answered += 1
        if row:
            tick["vmstat"] = row
        yield tick


def _values(column: ColumnLayout, cells: bytes) -> list[Any]:
    known, width = column.known, column.width
    begins = range(column.begin, column.begin + known * width, known) if known else ()
    planes = [cells[at : at + known] for at in begins]
    numbers = [
        int.from_bytes(number, "little", signed=True) for number in zip(*planes, strict=True)
    ]
    numbers = numbers or [0] * known
    for _ in range(column.order):
        numbers = list(accumulate(numbers))
    values = [_value(number + column.base, column.kind) for number in numbers]
    if column.mask < 0:
        return values
    left = iter(values)
    mask = cells[column.mask : column.mask + column.count]
    return [next(left) if flag else None for flag in mask]


def _value(number: int, kind: str | int) -> int | float:
    if isinstance(kind, int):
        return float(number / 10**kind)
    if kind == "d":
        return float(struct.unpack("<d", struct.pack("<q", number))[0])
    return number % (1 << 64) if kind == "u" else number
