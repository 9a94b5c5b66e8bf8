"""vmstat's table: to the byte what procps 4.0.2 prints, and read back from its neighbours too."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.external import vmstat
from monitors.external.vmstat import VmstatReader, VmstatRow

ORIGINAL = """\
procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu----- -----timestamp-----
 r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st                 UTC
 1  0      0 24393452    512 168160    0    0     8  6480   78  124  0  1 100  0  0 2026-11-20 20:30:22
"""  # noqa: E501
NUMBERS = [1, 0, 0, 24393452, 512, 168160, 0, 0, 8, 6480, 78, 124, 0, 1, 100, 0, 0]


@pytest.fixture
def utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def read(text: str) -> tuple[list[VmstatRow], int]:
    reader = VmstatReader(text.splitlines(keepends=True))
    return list(reader), reader.skipped


@pytest.mark.usefixtures("utc")
def test_writes_what_vmstat_prints() -> None:
    wall = datetime.fromisoformat("2026-11-20T20:30:22+00:00").timestamp()
    values = dict(zip(vmstat.COLUMNS, NUMBERS, strict=True))
    assert vmstat.header(wall) + vmstat.row(wall, values) == ORIGINAL


def test_reads_what_vmstat_prints() -> None:
    (row,), skipped = read(ORIGINAL)
    assert skipped == 0
    assert (row.when, row.zone) == (datetime(2026, 11, 20, 20, 30, 22), "UTC")
    assert list(row.values.values()) == NUMBERS
    assert row.values["free"] == 24393452
    assert row.values["id"] == 100


def test_the_header_repeats_as_it_does_off_a_terminal() -> None:
    due = [row for row in range(100) if vmstat.header_due(row)]
    assert due == [0, 20, 41, 62, 83]


def test_reads_a_newer_layout_and_one_without_stamps() -> None:
    newer = ORIGINAL.replace(" wa st  ", " wa st gu  ").replace("  0  0 2026", "  0  0  3 2026")
    (row,), skipped = read(newer)
    assert (skipped, row.values["gu"], row.zone) == (0, 3, "UTC")
    bare = "\n".join(
        line[:end] for line, end in zip(ORIGINAL.splitlines(), (80, 80, -20), strict=True)
    )
    (row,), skipped = read(bare + "\n")
    assert (skipped, row.when, row.zone) == (0, None, None)
    assert row.values["cs"] == 124


@pytest.mark.parametrize(
    "line",
    [
        " 1  0      0 2439\n",
        ORIGINAL.splitlines()[2],  # no line end: torn
        ORIGINAL.splitlines()[2].replace(" 512 ", " 5x2 ") + "\n",
        ORIGINAL.splitlines()[2].replace(" 512 ", " -12 ") + "\n",
        ORIGINAL.splitlines()[2].replace("-20 ", "-40 ") + "\n",
        ORIGINAL.splitlines()[2] + " 1\n",
        "slurmstepd: error: *** STEP 7.0 CANCELLED ***\n",
        "\0\0\0\n",
    ],
)
def test_a_line_that_makes_no_sense_is_counted(line: str) -> None:
    rows, skipped = read(ORIGINAL + line)
    assert (len(rows), skipped) == (1, 1)


def test_rows_without_a_header_are_counted() -> None:
    assert read(ORIGINAL.splitlines(keepends=True)[2]) == ([], 1)


rows = st.fixed_dictionaries({name: st.integers(0, 10**12) for name in vmstat.COLUMNS})
moments = st.integers(0, 2_000_000_000).map(lambda day: day // 86400 * 86400 + 43200)


@given(st.lists(st.tuples(moments, rows), max_size=45))
def test_what_is_written_is_read(written: list[tuple[int, dict[str, int]]]) -> None:
    text = ""
    for at, (wall, values) in enumerate(written):
        head = vmstat.header(wall) if vmstat.header_due(at) else ""
        text += head + vmstat.row(wall, values)
    found, skipped = read(text)
    assert skipped == 0
    assert [row.values for row in found] == [values for _, values in written]
    assert [row.when for row in found] == [datetime.fromtimestamp(wall) for wall, _ in written]
