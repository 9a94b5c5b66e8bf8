"""Blocks: what is packed is unpacked to the bit, by three decoders; damage is always noticed."""

from __future__ import annotations

import json
import math
import struct
import zlib
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.samples.fields import WHOLE_NUMBERS
from monitors.storage.block_arrays import arrays, joined
from monitors.storage.formats import json_lines
from monitors.storage.formats.block_reader import Block, decode_block, ticks_of
from monitors.storage.formats.block_writer import CRC, BlockBuilder, Raw, fits
from tests.monitors import restless
from tests.monitors.generate import ticks

NAMES = ("load1", "net_rx_bytes", "mem_used_mib", "later")
CARD_NAMES = ("power_w", "throttle", "energy_j")


def packed(raws: list[Raw]) -> bytes | None:
    columns = BlockBuilder()
    for raw in raws:
        assert fits(raw)
        assert columns.add(raw)
    return columns.pack()


def parts(block: bytes) -> tuple[bytes, bytes]:
    line, _, payload = block.partition(b"\n")
    assert payload.endswith(b"\n")
    return line + b"\n", payload[:-1]


def unpacked(block: bytes) -> list[Raw]:
    return list(ticks_of(decode_block(*parts(block))))


def by_the_documentation(line: bytes, payload: bytes) -> dict[str, list[Any]]:
    """The decoder that `formats.block_writer` speaks of: every column with all its values."""
    head, found = json.loads(line), {}
    assert zlib.crc32(payload, zlib.crc32(line[: line.index(b',"crc"')])) == head["crc"]
    table, _, cells = zlib.decompress(payload).partition(b"\n")
    told = json.loads(table)
    for name, kind, order, width, base, known in told["columns"]:
        count = told["answered"] * len(told["gpus"]) if name[:4] == "gpu." else head["ticks"]
        mask, cells = (cells[:count], cells[count:]) if known < count else (b"\1" * count, cells)
        planes = [cells[known * at : known * (at + 1)] for at in range(width)]
        cells = cells[known * width :]
        numbers = [int.from_bytes(one, "little", signed=True) for one in zip(*planes, strict=True)]
        numbers = numbers or [0] * known
        for _ in range(order):
            numbers = list(accumulate(numbers))
        values = iter([meant(number + base, kind) for number in numbers])
        found[name] = [next(values) if flag else None for flag in mask]
    return found


def meant(number: int, kind: str | int) -> float:
    if isinstance(kind, int):
        return float(number / 10**kind)
    if kind == "d":
        return float(struct.unpack("<d", struct.pack("<q", number))[0])
    return number % 2**64 if kind == "u" else number


whole = st.integers(-(1 << 63), (1 << 63) - 1)
unsigned = st.integers(0, (1 << 64) - 1)
decimals = st.integers(-(10**9), 10**9).flatmap(
    lambda number: st.sampled_from((10, 100, 1000)).map(lambda scale: number / scale)
)
doubles = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def runs(draw: st.DrawFn) -> list[Raw]:
    """Ticks with values of any kind, some of them unknown, GPUs silent at times."""
    kinds = {name: draw(st.sampled_from((whole, unsigned, decimals, doubles))) for name in NAMES}
    of_cards = {n: draw(st.sampled_from((whole, unsigned, decimals))) for n in CARD_NAMES}
    gpus = draw(st.lists(st.integers(0, 99), max_size=3, unique=True).map(sorted))
    found = []
    number = draw(st.integers(-(1 << 63), 1 << 40))
    for _ in range(draw(st.integers(1, 12))):
        number += draw(st.integers(1, 3))
        tick: Raw = {"kind": "tick", "n": number, "wall": draw(decimals), "mono": draw(doubles)}
        tick["host"] = {n: draw(kind) for n, kind in kinds.items() if draw(st.integers(0, 3))}
        if draw(st.booleans()):
            tick["own"] = {"cpu_s": draw(decimals)}
        if draw(st.integers(0, 3)):
            tick["gpus"] = [
                {"index": gpu}
                | {n: draw(kind) for n, kind in of_cards.items() if draw(st.integers(0, 3))}
                for gpu in gpus
            ]
        if draw(st.booleans()):
            tick["vmstat"] = draw(st.lists(whole, min_size=17, max_size=17))
        found.append(tick)
    return found


@settings(deadline=None, max_examples=200)
@given(runs())
def test_what_is_packed_is_unpacked(raws: list[Raw]) -> None:
    block = packed(raws)
    if block is None:  # whole numbers below 0 and above 2**63 in one column
        return
    assert unpacked(block) == raws


@settings(deadline=None, max_examples=100)
@given(st.lists(ticks, min_size=1, max_size=8))
def test_ticks_of_any_values_are_packed_or_refused(found: list[Any]) -> None:
    raws = [json.loads(json_lines.line(tick)) for tick in found]
    kept = [raw for raw in raws if fits(raw)]
    columns = BlockBuilder()
    taken = [raw for raw in kept if columns.add(raw)]
    block = columns.pack() if taken else None
    if block is not None:
        assert unpacked(block) == taken


@settings(deadline=None, max_examples=100)
@given(runs())
def test_three_decoders_agree(raws: list[Raw]) -> None:
    block = packed(raws)
    if block is None:
        return
    plain = by_the_documentation(*parts(block))
    try:
        found = arrays(decode_block(*parts(block)), NAMES, CARD_NAMES)
    except (ValueError, KeyError):
        assert any(abs(raw["mono"]) >= 1e24 for raw in raws)
        return
    for prefix, columns in (("host.", found.host), ("gpu.", found.gpu_values)):
        wanted = {
            name: plain[prefix + name] for name in (*NAMES, *CARD_NAMES) if prefix + name in plain
        }
        assert set(wanted) == set(columns)
        for name, values in wanted.items():
            for mine, theirs in zip(columns[name].ravel(), values, strict=True):
                if theirs is None or abs(theirs) >= 1e24:
                    assert math.isnan(mine)
                elif name in WHOLE_NUMBERS:
                    assert mine == float(int(theirs))
                else:
                    assert mine == float(theirs)


def test_real_looking_ticks_take_a_thirtieth_of_their_lines() -> None:
    raws = [json.loads(json_lines.line(tick)) for tick in restless.ticks(0, 8, 300)]
    block = packed(raws)
    assert block is not None
    assert unpacked(block) == raws
    assert len(block) < 0.04 * sum(len(json.dumps(raw)) for raw in raws)


def small() -> bytes:
    block = packed([json.loads(json_lines.line(tick)) for tick in restless.ticks(0, 1, 9)])
    assert block is not None
    return block


def test_every_changed_byte_is_noticed() -> None:
    line, payload = parts(small())
    for at in range(len(line) + len(payload)):
        data = bytearray(line + payload)
        data[at] ^= 0x10
        with pytest.raises(ValueError):
            decode_block(bytes(data[: len(line)]), bytes(data[len(line) :]))


def forged_block(cells: bytes, line: bytes) -> Block:
    """Decode other cells under a right checksum."""
    payload = zlib.compress(cells)
    begin = line[: line.rindex(CRC)]
    crc = zlib.crc32(payload, zlib.crc32(begin))
    return decode_block(begin + b"%b%d}\n" % (CRC, crc), payload)


def test_a_mask_that_promises_more_values_than_there_are_is_refused() -> None:
    line, payload = parts(small())
    block = decode_block(line, payload)
    column = next(c for c in block.columns if c.mask >= 0 and c.known)
    cells = bytearray(block.cells)
    unknown = cells.index(0, column.mask, column.mask + column.count)
    cells[unknown] = 1
    with pytest.raises(ValueError, match="mask"):
        forged_block(bytes(cells), line)


@pytest.mark.parametrize(("ticks", "gpus"), [(1 << 20, 1024), (1000, 1000), (1 << 20, 0)])
def test_a_small_block_of_many_constant_values_is_refused(ticks: int, gpus: int) -> None:
    """Constant columns take no bytes: 2 kB once stood for a billion values, and took 9 GB."""
    constant = [[f"gpu.c{number}", "i", 0, 0, 7, ticks * gpus] for number in range(8)]
    host = [[name, "i", 0, 0, 1, ticks] for name in ("n", "wall", "mono")]
    table = {"gpus": list(range(gpus)), "answered": ticks if gpus else 0, "columns": host}
    table["columns"] = [*host, *constant]
    line = b'{"kind":"block","format":1,"ticks":%d' % ticks + CRC + b"0}\n"
    with pytest.raises(ValueError, match="more values"):
        forged_block(json.dumps(table).encode() + b"\n", line)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.data())
def test_a_forged_block_is_refused_or_read(garbage: bytes, data: st.DataObject) -> None:
    """A right checksum over nonsense: no file may take the report down."""
    line, payload = parts(small())
    cells = bytearray(zlib.decompress(payload))
    at = data.draw(st.integers(0, len(cells)))
    cells[at : at + data.draw(st.integers(0, 50))] = garbage
    try:
        block = forged_block(bytes(cells), line)
        list(ticks_of(block))
        arrays(block, NAMES, CARD_NAMES)
    except (ValueError, KeyError):
        pass


@pytest.mark.parametrize(
    "change",
    [
        {"host": {"load1": "7"}},
        {"host": {"load1": True}},
        {"host": {"load1": 1 << 64}},
        {"host": {"load1": float("inf")}},
        {"host": []},
        {"host": {}, "own": {}},
        {"n": 1.5},
        {"wall": None},
        {"gpus": {}},
        {"gpus": [{"index": 1}, {"index": 0}]},
        {"gpus": [{"index": 0}, {"index": 0}]},
        {"gpus": [{"power_w": 3}]},
        {"vmstat": [1, 2]},
        {"phase": "load"},
    ],
)
def test_what_cannot_be_stored_does_not_fit(change: Raw) -> None:
    assert not fits({"kind": "tick", "n": 1, "wall": 1.5, "mono": 2.5, "host": {}} | change)


def test_other_gpus_do_not_go_into_the_same_block() -> None:
    columns = BlockBuilder()
    tick: Raw = {"kind": "tick", "n": 1, "wall": 1.5, "mono": 2.5, "host": {}}
    assert columns.add(tick | {"gpus": [{"index": 0}]})
    assert columns.add(tick)
    assert not columns.add(tick | {"gpus": []})
    assert columns.count == 2


def test_blocks_are_joined_with_what_each_lacks_unknown() -> None:
    raws = [json.loads(json_lines.line(tick)) for tick in restless.ticks(0, 2, 30)]
    for raw in raws[:10]:
        del raw["host"]["load1"]
        for gpu in raw["gpus"]:
            del gpu["power_w"]
    del raws[4]["gpus"], raws[25]["gpus"]
    blocks: list[Block] = []
    for begin in (0, 10, 20):
        block = packed(raws[begin : begin + 10])
        assert block is not None
        blocks.append(decode_block(*parts(block)))
    found = joined([arrays(block, NAMES, CARD_NAMES) for block in blocks])
    whole = arrays(decode_block(*parts(packed(raws) or b"")), NAMES, CARD_NAMES)
    assert found.n.tolist() == whole.n.tolist() == list(range(30))
    assert found.answered.tolist() == [n for n in range(30) if n not in (4, 25)]
    for mine, theirs in ((found.host, whole.host), (found.gpu_values, whole.gpu_values)):
        assert set(mine) == set(theirs)
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name])
