"""The JSON lines: what is written is read, what is unknown is absent, garbage is counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.records import GpuSample, HostSample, Note, Record, Start, Tick
from monitors.storage.formats import json_lines
from monitors.storage.formats.json_lines import SamplesReader
from tests.monitors.generate import records

NOTE = json_lines.line(Note(1.0, "here"))


def read(text: str) -> tuple[list[Record], int]:
    reader = SamplesReader(text.splitlines(keepends=True))
    return list(reader), reader.skipped


@given(st.lists(records, max_size=6))
def test_what_is_written_is_read(written: list[Record]) -> None:
    lines = [json_lines.line(record) for record in written]
    assert all(line.count("\n") == 1 and line.isascii() for line in lines)
    reader = SamplesReader(lines)
    assert list(reader) == written
    assert reader.skipped == 0


@given(records, st.data())
def test_a_line_cut_anywhere_is_counted(record: Record, data: st.DataObject) -> None:
    line = json_lines.line(record)
    cut = line[: data.draw(st.integers(1, len(line) - 1))]
    assert read(NOTE + cut) == ([Note(1.0, "here")], 1)
    assert read(NOTE + cut + "\n" + NOTE)[1] in (0, 1)  # whole but for the line end: not torn
    assert len(read(NOTE + cut + "\n" + NOTE)[0]) >= 2


def test_the_line_as_documented() -> None:
    tick = Tick(3, 10.5, 2.5, HostSample(load1=0.5), (GpuSample(1, power_w=99.5, sm_pct=0),))
    assert json.loads(json_lines.line(tick)) == {
        "kind": "tick",
        "n": 3,
        "wall": 10.5,
        "mono": 2.5,
        "host": {"load1": 0.5},
        "gpus": [{"index": 1, "power_w": 99.5, "sm_pct": 0}],
    }
    start = json.loads(json_lines.line(Start("n1", 1, 2, "CET", 3600, 1.0)))
    assert (start["kind"], start["format"], start["zone"]) == ("start", 1, "CET")


def test_a_later_format_only_adds() -> None:
    text = (
        '{"kind":"phase","name":"load"}\n'
        '{"kind":"tick","n":0,"wall":1,"mono":1,"host":{"watts":3},"gpus":[{"index":0,"x":1}]}\n'
        "\n"
    )
    assert read(text) == ([Tick(0, 1, 1, HostSample(), (GpuSample(0),))], 0)


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[]",
        "null",
        '"text"',
        "{",
        '{"kind":"tick","n":0,"wall":1,"mono":1}',
        '{"kind":"tick","n":true,"wall":1,"mono":1,"host":{}}',
        '{"kind":"tick","n":0,"wall":NaN,"mono":1,"host":{}}',
        '{"kind":"tick","n":0,"wall":1e30,"mono":1,"host":{}}',
        '{"kind":"tick","n":0,"wall":1,"mono":1,"host":[]}',
        '{"kind":"tick","n":0,"wall":1,"mono":1,"host":{},"gpus":{}}',
        '{"kind":"tick","n":0,"wall":1,"mono":1,"host":{},"gpus":[{"sm_pct":1}]}',
        '{"kind":"note","wall":1,"text":1}',
        '{"kind":"note","wall":' + "9" * 400 + ',"text":"a"}',
        '{"kind":"note","wall":' + "9" * 5000 + ',"text":"a"}',
        "[" * 100_000,
        "\0" * 100,
        NOTE.strip() + NOTE.strip(),
    ],
)
def test_a_line_that_makes_no_sense_is_counted(line: str) -> None:
    assert read(NOTE + line + "\n" + NOTE) == ([Note(1.0, "here")] * 2, 1)


@pytest.mark.parametrize("value", ['"7"', "true", "null", "[]", "NaN", "1e300", "9" * 400])
def test_a_value_of_the_wrong_kind_is_unknown(value: str) -> None:
    text = f'{{"kind":"tick","n":0,"wall":1,"mono":1,"host":{{"load1":{value},"net_rx_bytes":5}}}}'
    ((record,), skipped) = read(text + "\n")
    assert isinstance(record, Tick)
    assert (record.host, skipped) == (HostSample(net_rx_bytes=5), 0)
