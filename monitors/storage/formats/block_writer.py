"""Blocks: many ticks as compressed columns. The whole format of a block, byte by byte.

A file NODE.samples.blocks holds the lines that `monitors.storage.formats.json_lines` describes, in
the order of time, but its ticks are packed into blocks. A block is a line, a payload and a line end
(LF is the byte 0x0A):

    {"kind":"block","format":1,"ticks":T,"first":N,"last":N,"bytes":B,"crc":C} LF  payload LF

`ticks` is the number of ticks, `first` and `last` are the numbers `n` of the first and the last of
them, `bytes` is the length of the payload. `crc` is the CRC-32 of the line up to `,"crc"`,
continued over the payload. Decompressed by zlib, the payload begins with a line of JSON, then come
the cells:

    {"gpus":[0,1],"answered":A,"columns":[[name,type,order,width,base,known],...]} LF  cells

`gpus` are the numbers (`index`) of the GPUs in each of the A ticks in which they answered. The
cells are those of the columns, one column after the other:

1. `n`, `wall`, `mono`, `host.NAME`, `own.NAME` and `vmstat.NAME` have T values, one for each tick.
   `gpu.NAME` has A values of the first GPU, then A of the next, and so on. Where A is neither 0 nor
   T there is a column `gpus`: 1 for a tick in which they answered, 0 for one without `gpus`.
2. Where fewer than all values are `known`, a byte for each comes first: 1 known, 0 not. What
   follows is of the known values alone. A column without any known value is left out.
3. Then come the lowest bytes of all numbers, then the next bytes of all, `width` times (0, 1, 2, 4
   or 8; at 0 all numbers are 0). Together they are signed integers in two's complement.
4. `order` times (0, 1 or 2) each number becomes the sum of itself and those before it.
5. `base` is added to each. `type` says what the number is then: "i" an integer; "u" an integer, to
   be taken modulo 2**64; "d" the bits of an IEEE double; 0 to 6 a decimal with so many digits,
   which divided by 10**type is the double that was recorded, to the bit.

Ticks that do not fit, because they hold something other than numbers, stand between the blocks as
the lines they were. `tests/monitors/storage/test_blocks.py` has a decoder of a dozen lines.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

from monitors.external.vmstat import COLUMNS
from monitors.storage.formats.column_encoding import BEYOND, LOWEST, Value, encode_column

FORMAT = 1
HEAD = b'{"kind":"block",'
CRC = b',"crc":'
_PARTS = {"kind", "n", "wall", "mono", "host", "gpus", "own", "vmstat"}

Raw = dict[str, Any]
"""A tick as parsed from its line."""


class _ColumnBuilder:
    """Values in the order of ticks; one that was not put is unknown."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: list[Value | None] = []

    def put(self, at: int, value: Value) -> None:
        if at > len(self.values):
            self.values.extend([None] * (at - len(self.values)))
        self.values.append(value)


class BlockBuilder:
    """Gathers ticks into a block. All ticks in which GPUs answered have the same GPUs."""

    def __init__(self) -> None:
        self.count = 0
        self._answers: list[int] = []
        self._gpus: tuple[int, ...] | None = None
        self._ticks: dict[str, _ColumnBuilder] = {}
        self._gpu_columns: dict[str, dict[int, _ColumnBuilder]] = {}

    def add(self, tick: Raw) -> bool:
        """Add a tick that `fits`; False where it has other GPUs than those so far."""
        gpus = gpus_of(tick)
        if gpus is not None:
            if self._gpus is None:
                self._gpus = gpus
            if gpus != self._gpus:
                return False
        for name in ("n", "wall", "mono"):
            self._put(name, tick[name])
        for part in ("host", "own"):
            for name, value in tick.get(part, {}).items():
                self._put(f"{part}.{name}", value)
        for name, value in zip(COLUMNS, tick.get("vmstat", ()), strict=False):
            self._put(f"vmstat.{name}", value)
        at = sum(self._answers)
        for gpu in tick.get("gpus", ()):
            for name, value in gpu.items():
                columns = self._gpu_columns.setdefault(name, {})
                columns.setdefault(gpu["index"], _ColumnBuilder()).put(at, value)
        self._answers.append(int(gpus is not None))
        self.count += 1
        return True

    def _put(self, name: str, value: Value) -> None:
        column = self._ticks.get(name)
        if column is None:
            column = self._ticks[name] = _ColumnBuilder()
        column.put(self.count, value)

    def pack(self) -> bytes | None:
        """Return the block; None where a column cannot be stored without losing something."""
        # Z_FILTERED: such bytes are noise of a certain distribution, with few repetitions.
        packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
        columns, cells = [], []
        for name, values in self._columns():
            encoded = encode_column(values)
            if encoded is None:
                return None
            columns.append([name, *encoded[0]])
            cells += encoded[1]
        table = {"gpus": self._gpus or (), "answered": sum(self._answers), "columns": columns}
        payload = bytearray()
        for piece in (_json(table) + b"\n", *cells):
            # A Huffman code for each: their bytes are distributed differently.
            payload += packer.compress(piece) + packer.flush(zlib.Z_PARTIAL_FLUSH)
        payload += packer.flush()
        numbers = self._ticks["n"].values
        head = {
            "kind": "block",
            "format": FORMAT,
            "ticks": self.count,
            "first": numbers[0],
            "last": numbers[-1],
            "bytes": len(payload),
        }
        begin = _json(head)[:-1]
        crc = zlib.crc32(payload, zlib.crc32(begin))
        return b"%b%b%d}\n%b\n" % (begin, CRC, crc, bytes(payload))

    def _columns(self) -> Iterator[tuple[str, list[Value | None]]]:
        answered = sum(self._answers)
        if 0 < answered < self.count:
            yield "gpus", list(self._answers)
        for name, column in self._ticks.items():
            yield name, _padded(column, self.count)
        self._gpu_columns.pop("index", None)
        for name, columns in self._gpu_columns.items():
            rows = (_padded(columns.get(gpu), answered) for gpu in self._gpus or ())
            yield f"gpu.{name}", list(chain.from_iterable(rows))


def fits(tick: Raw) -> bool:
    """Whether a tick can stand in a block without losing anything."""
    gpus, row = tick.get("gpus", []), tick.get("vmstat", [0] * len(COLUMNS))
    parts = [tick.get("host"), tick.get("own", {"": 0})]
    if not _PARTS.issuperset(tick) or not isinstance(gpus, list) or not isinstance(row, list):
        return False
    if not all(isinstance(part, dict) for part in (*parts, *gpus)) or not parts[1]:
        return False
    indexes = [gpu.get("index") for gpu in gpus]
    if len(row) != len(COLUMNS) or any(type(i) is not int for i in (tick.get("n"), *indexes)):
        return False
    if any(first >= second for first, second in pairwise(indexes)):
        return False
    times = (tick.get("n"), tick.get("wall"), tick.get("mono"))
    return all(map(_storable, chain(times, row, *(part.values() for part in (*parts, *gpus)))))


def gpus_of(tick: Raw) -> tuple[int, ...] | None:
    """Return the numbers of the GPUs in a tick that `fits`; None where they did not answer."""
    return tuple(gpu["index"] for gpu in tick["gpus"]) if "gpus" in tick else None


def _storable(value: Any) -> bool:
    if type(value) is float:
        return value - value == 0  # neither infinite nor not a number
    return type(value) is int and LOWEST <= value < BEYOND


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _padded(column: _ColumnBuilder | None, length: int) -> list[Value | None]:
    values = [] if column is None else column.values
    return [*values, *[None] * (length - len(values))]
