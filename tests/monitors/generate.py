"""Hypothesis strategies for records of a node, and for what a broken disk makes of a file."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from monitors.records import (
    End,
    GpuInfo,
    GpuSample,
    GpuTable,
    HostSample,
    Note,
    OwnCost,
    Record,
    Start,
    Tick,
)
from monitors.samples.fields import WHOLE_NUMBERS

numbers = st.floats(-1e9, 1e18) | st.integers(0, 10**18)
counters = st.integers(0, 1 << 64)
texts = st.text(max_size=20)
_WHOLE = WHOLE_NUMBERS - {"index"}


def _optional(kind: type[Any], *, texts_too: tuple[str, ...] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(kind):
        if field.name != "index":
            value = texts if field.name in texts_too else numbers
            found[field.name] = st.none() | (counters if field.name in _WHOLE else value)
    return found


infos = st.builds(
    GpuInfo, st.integers(0, 20), **_optional(GpuInfo, texts_too=("uuid", "name", "pci_bus"))
)
gpus = st.builds(GpuSample, st.integers(0, 20), **_optional(GpuSample))
hosts = st.builds(HostSample, **_optional(HostSample))
costs = st.builds(OwnCost, **_optional(OwnCost))
_several_infos = st.lists(infos, max_size=3).map(tuple)
starts = st.builds(
    Start,
    node=texts,
    wall=numbers,
    mono=numbers,
    zone=texts,
    utc_offset_s=st.integers(-200_000, 200_000),
    interval_s=numbers,
    gpus=_several_infos,
    gpu_problem=st.none() | texts,
)
ticks = st.builds(
    Tick,
    st.integers(0, 10**9),
    numbers,
    numbers,
    hosts,
    st.none() | st.lists(gpus, max_size=3).map(tuple),
    st.none() | costs,
    st.none() | st.lists(st.integers(0, 10**12), min_size=17, max_size=17).map(tuple),
)
ends = st.builds(
    End, numbers, texts, st.integers(0, 10**9), st.integers(0, 10**9), costs, st.integers(0, 99)
)
records: st.SearchStrategy[Record] = st.one_of(
    starts, ticks, ends, st.builds(GpuTable, _several_infos), st.builds(Note, numbers, texts)
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Some bytes of `whole` overwritten, a part cut out, the end torn off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        garbage = draw(st.binary(max_size=12) | st.sampled_from((b"\0" * 40, b"\n", b"9" * 400)))
        data[at : at + draw(st.integers(0, 30))] = garbage
    return bytes(data[: draw(st.integers(0, len(data)))])
