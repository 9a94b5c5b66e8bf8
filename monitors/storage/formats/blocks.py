"""Many ticks in one piece: columns of differences, compressed. The format, to the byte.

A file NODE.samples.blocks holds lines as `monitors.storage.formats.samples` describes them, in
the order of time, but its ticks are packed into blocks. A block is a line, a payload, a line end:

    {"kind":"block","format":1,"ticks":T,"first":N,"last":N,"bytes":B,"crc":C} LF  payload LF

`first` and `last` are the numbers `n` of its first and its last tick. The payload has B bytes; C is
the CRC-32 of the line up to `,"crc"` and of the payload, in this order. What zlib makes of the
payload begins with a line of its own, JSON again:

    {"gpus":[0,1],"answered":A,"columns":[[name,type,order,width,base,known],...]} LF  cells

`gpus` are the numbers (`index`) of the GPUs in each of the A ticks in which they answered. The
cells are those of the columns, one column after the other:

- `n`, `wall`, `mono`, `host.NAME`, `own.NAME` and `vmstat.NAME` have T values, one of each tick.
  `gpu.NAME` has A values of the first GPU, then A of the next, and so on. Where A is neither 0 nor
  T there is a column `gpus`: 1 for a tick in which they answered, 0 for one without `gpus`.
- Where fewer than all values are `known`, a byte for each comes first: 1 known, 0 not. What
  follows is of the known ones alone. A column that would be wholly unknown is left out.
- Then the lowest byte of all numbers, then the next of all, `width` times (0, 1, 2, 4 or 8; where
  it is 0 the numbers are 0). Together they are signed, two's complement.
- `order` times (0, 1 or 2) each number becomes the sum of itself and those before it.
- `base` is added. `type` says what the number is then: "i" a whole number; "u" a whole number, to
  be taken modulo 2**64; "d" the bits of an IEEE double; 0 to 6 a number with so many decimal
  digits, which divided by 10**type is the double that was recorded, to the bit.

`tests/monitors/storage/test_blocks.py` has a decoder of a dozen lines. Ticks that do not fit, for
they hold something other than numbers, stand between the blocks as the lines they were.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

from monitors.external.vmstat import COLUMNS
from monitors.storage.formats.cells import BEYOND, LOWEST, Value, packed

FORMAT = 1
HEAD = b'{"kind":"block",'
CRC = b',"crc":'
_PARTS = {"kind", "n", "wall", "mono", "host", "gpus", "own", "vmstat"}

Raw = dict[str, Any]
"""A tick as parsed from its line."""


class _Column:
    """Values in the order of ticks; one that is not given is unknown."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: list[Value | None] = []

    def put(self, at: int, value: Value) -> None:
        if at > len(self.values):
            self.values.extend([None] * (at - len(self.values)))
        self.values.append(value)


class TickColumns:
    """Gathers ticks until they are packed. All that answered have the same GPUs."""

    def __init__(self) -> None:
        self.count = 0
        self._answers: list[int] = []
        self._gpus: tuple[int, ...] | None = None
        self._ticks: dict[str, _Column] = {}
        self._cards: dict[str, dict[int, _Column]] = {}

    def add(self, tick: Raw) -> bool:
        """Take a tick that `fits`; False where its GPUs are others than those so far."""
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
                cards = self._cards.setdefault(name, {})
                cards.setdefault(gpu["index"], _Column()).put(at, value)
        self._answers.append(int(gpus is not None))
        self.count += 1
        return True

    def _put(self, name: str, value: Value) -> None:
        column = self._ticks.get(name)
        if column is None:
            column = self._ticks[name] = _Column()
        column.put(self.count, value)

    def pack(self) -> bytes | None:
        """The block; None where a column cannot be stored without losing something."""
        # Filtered: these bytes are noise with a shape, in which repetitions mean nothing.
        packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
        columns, cells = [], []
        for name, values in self._columns():
            found = packed(values)
            if found is None:
                return None
            columns.append([name, *found[0]])
            cells += found[1]
        table = {"gpus": self._gpus or (), "answered": sum(self._answers), "columns": columns}
        payload = bytearray()
        for piece in (_json(table) + b"\n", *cells):
            # Each with a code of its own: they have nothing in common.
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
            yield name, _whole(column, self.count)
        self._cards.pop("index", None)
        for name, cards in self._cards.items():
            rows = (_whole(cards.get(gpu), answered) for gpu in self._gpus or ())
            yield f"gpu.{name}", list(chain.from_iterable(rows))


def fits(tick: Raw) -> bool:
    """Whether a tick can be packed without losing anything."""
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
    told = (tick.get("n"), tick.get("wall"), tick.get("mono"))
    return all(map(_storable, chain(told, row, *(part.values() for part in (*parts, *gpus)))))


def gpus_of(tick: Raw) -> tuple[int, ...] | None:
    """The numbers of the GPUs in a tick that `fits`; None where they did not answer."""
    return tuple(gpu["index"] for gpu in tick["gpus"]) if "gpus" in tick else None


def _storable(value: Any) -> bool:
    if type(value) is float:
        return value - value == 0  # neither infinite nor not a number
    return type(value) is int and LOWEST <= value < BEYOND


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _whole(column: _Column | None, length: int) -> list[Value | None]:
    values = [] if column is None else column.values
    return [*values, *[None] * (length - len(values))]
