"""How a column of a block becomes bytes: points 2 to 5 of `monitors.storage.formats.block_writer`.

Three steps make such columns small: decimals become integers, neighbours become differences, and
the bytes of equal weight stand together ("planes"), where zlib finds long runs of like ones.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from itertools import islice
from operator import sub
from typing import Any

Value = int | float
LOWEST, BEYOND = -(1 << 63), 1 << 64
"""An integer from the first to below the second can be stored."""
WIDTHS = ((1, "b"), (2, "h"), (4, "i"), (8, "q"))
MOST_DIGITS = 6
_EXACT = 1 << 52
"""So that doubles also hold the differences of decimal numbers exactly."""
_NEAR = 1 << 60


def encode_column(values: Sequence[Value | None]) -> tuple[list[Any], list[bytes]] | None:
    """Return type, order, width, base and number of known values; and the pieces of the cells.

    None where a value cannot be stored without losing something.
    """
    known = [value for value in values if value is not None]
    pieces = []
    if len(known) < len(values):
        pieces.append(bytes(value is not None for value in values))
    scaled = _scaled(known)
    if scaled is None:
        return None
    kind, numbers = scaled
    order, base, planes = _smallest(numbers)
    return [kind, order, len(planes), base, len(known)], pieces + planes


def _scaled(values: list[Value]) -> tuple[str | int, list[int]] | None:
    """The type of a column, and its values as integers below 2**63."""
    kinds = set(map(type, values))
    if kinds == {int}:
        if max(values) < -LOWEST:
            return "i", values  # type: ignore[return-value]  # all are int
        if min(values) >= 0:
            return "u", [int(v) - BEYOND if v >= -LOWEST else int(v) for v in values]
        return None
    for digits in range(MOST_DIGITS + 1):
        scale = 10**digits
        if max(map(abs, values)) * scale >= _EXACT:
            break
        numbers = [round(value * scale) for value in values]
        if all(number / scale == value for number, value in zip(numbers, values, strict=True)):
            return digits, numbers
    if kinds == {float}:
        return "d", [struct.unpack("<q", struct.pack("<d", value))[0] for value in values]
    return None


def _smallest(numbers: list[int]) -> tuple[int, int, list[bytes]]:
    """Order, base and planes of bytes: of the orders the one that packs smallest."""
    low, high = min(numbers), max(numbers)
    if low == high:
        return 0, low, []
    if high - low >= _NEAR:  # differences would run over
        return 0, 0, _planes(numbers)
    first, middle = numbers[0], sorted(numbers)[len(numbers) // 2]
    best = (0, middle, _planes([number - middle for number in numbers]))
    least = _size(best[2])
    left = [number - first for number in numbers]
    for order in (1, 2):
        left = [left[0], *map(sub, islice(left, 1, None), left)]
        planes = _planes(left)
        size = _size(planes)
        if size < least:
            least, best = size, (order, first, planes)
    return best


def _size(planes: Iterable[bytes]) -> int:
    return sum(len(zlib.compress(plane, 1)) for plane in planes)


def _planes(numbers: list[int]) -> list[bytes]:
    """The lowest bytes of all numbers, then the next, and so on."""
    low, high = min(numbers), max(numbers)
    if not low and not high:
        return []
    width, code = next(
        (width, code)
        for width, code in WIDTHS
        if -(1 << 8 * width - 1) <= low and high < 1 << 8 * width - 1
    )
    cells = array(code, numbers)
    if sys.byteorder == "big":
        cells.byteswap()
    data = cells.tobytes()
    return [data[at::width] for at in range(width)]
