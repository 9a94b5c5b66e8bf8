"""Whatever bytes the files hold: readers and report come through, and count what they skip."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.analysis.analysis import analyse_folder, build
from monitors.external import dmon, vmstat
from monitors.external.dmon import DmonReader
from monitors.external.vmstat import VmstatReader
from monitors.records import GpuInfo, GpuSample, HostSample, Record, Start, Tick
from monitors.report.build import render_html, to_dict
from monitors.report.text import render_text
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from monitors.storage.formats.block_writer import BlockBuilder
from monitors.storage.formats.json_lines import SamplesReader
from tests.monitors.generate import damaged, records

_GPU = GpuSample(0, 100, 40, 41, 90, 80, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7)
WHOLE = {
    filenames.SAMPLES: json_lines.line(Start("n1", 1e9, 5, "UTC", 0, 1, (GpuInfo(0, "GPU-0"),)))
    + "".join(
        json_lines.line(Tick(n, 1e9 + n, 5 + n, HostSample(load1=1, net_rx_bytes=n), (_GPU,)))
        for n in range(4)
    ),
    filenames.DMON: dmon.header() + 4 * dmon.row(1e9, _GPU),
    filenames.VMSTAT: vmstat.header(1e9) + 4 * vmstat.row(1e9, dict.fromkeys(vmstat.COLUMNS, 7)),
}
BLOCK = BlockBuilder()
for _line in WHOLE[filenames.SAMPLES].splitlines()[1:]:
    BLOCK.add(json.loads(_line))
BYTES = {suffix: text.encode() for suffix, text in WHOLE.items()}
HEAD = BYTES[filenames.SAMPLES].partition(b"\n")[0] + b"\n"
BYTES[filenames.BLOCKS] = HEAD + 2 * (BLOCK.pack() or b"")
Reader = Callable[[Iterable[str]], SamplesReader | DmonReader | VmstatReader]
READERS: dict[str, Reader] = {
    filenames.SAMPLES: SamplesReader,
    filenames.DMON: DmonReader,
    filenames.VMSTAT: VmstatReader,
}


def lines_of(data: bytes) -> list[str]:
    text = data.decode(errors="replace")
    return [line + "\n" for line in text.split("\n")[:-1]] + [text.rsplit("\n", 1)[-1]]


def meaningless(line: str) -> bool:
    """No reader has a use for it, and each must count it."""
    text = line.strip()
    return bool(text) and text[0] in "\0\ufffdxyz"


@pytest.mark.parametrize("suffix", READERS)
@given(data=st.data())
def test_readers_never_raise_and_count(suffix: str, data: st.DataObject) -> None:
    raw = data.draw(st.binary(max_size=300) | damaged(WHOLE[suffix].encode()))
    lines = lines_of(raw)
    reader = READERS[suffix](lines)
    found = len(list(reader))
    filled = sum(bool(line.strip()) for line in lines)
    assert sum(map(meaningless, lines)) <= reader.skipped <= filled - found


@pytest.mark.parametrize("suffix", READERS)
@given(garbage=st.lists(st.binary(max_size=30), max_size=5))
def test_garbage_between_whole_lines_costs_none_of_them(suffix: str, garbage: list[bytes]) -> None:
    odd = b"".join(b"\0" + piece.replace(b"\n", b"") + b"\n" for piece in garbage)
    reader = READERS[suffix](lines_of(WHOLE[suffix].encode() + odd + WHOLE[suffix].encode()))
    assert len(list(reader)) == 2 * len(list(READERS[suffix](lines_of(WHOLE[suffix].encode()))))
    assert reader.skipped == len(garbage)


def check(folder: Path) -> None:
    report = build(folder)
    assert all(len(line) <= 80 for line in render_text(report).splitlines())

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    json.loads(json.dumps(to_dict(report)), parse_constant=refuse)
    render_html(analyse_folder(folder))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_report_comes_through_damaged_files(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        for suffix in data.draw(st.sets(st.sampled_from(filenames.SUFFIXES))):
            raw = data.draw(st.binary(max_size=200) | damaged(BYTES[suffix]))
            (Path(name) / f"n1{suffix}").write_bytes(raw)
        check(Path(name))


@settings(max_examples=100, deadline=None)
@given(st.lists(records, max_size=8))
def test_the_report_comes_through_any_records(found: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as name:
        text = "".join(map(json_lines.line, found))
        (Path(name) / "n1.samples.jsonl").write_text(text)
        check(Path(name))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats() | st.just("-"), min_size=13, max_size=13), max_size=4))
def test_the_report_comes_through_any_table(rows: list[list[object]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        text = dmon.header()
        for row in rows:
            text += " ".join(["20260101", "00:00:00", "0", *map(str, row)]) + "\n"
        (Path(name) / "n1.dmon.txt").write_text(text)
        check(Path(name))
