"""dmon's table: to the byte what nvidia-smi prints, and read back from any driver's layout."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.external import dmon
from monitors.external.dmon import DmonReader
from monitors.records import GpuSample

# From nvidia-smi dmon -o TD -s puct on an idle GPU; its lines end in a space.
ORIGINAL = """\
#Date        Time         gpu    pwr  gtemp  mtemp     sm    mem    enc    dec    jpg    ofa   mclk   pclk  rxpci  txpci 
#YYYYMMDD    HH:MM:SS     Idx      W      C      C      %      %      %      %      %      %    MHz    MHz   MB/s   MB/s 
 20260816    09:22:34       0      6     38      -      0      0      0      0      0      0    405    180      0      2 
"""  # noqa: E501, W291
IDLE = GpuSample(
    0, 5.6, 38.2, None, 0, 0, 0, 0, 0, 0, 405, 180, 0.4, 1.6, 300.0, 1, 12.5
)  # the last three are not dmon's
NAMES = [name for name, _, _ in dmon.COLUMNS]


def read(text: str) -> tuple[list[dmon.DmonRow], int]:
    reader = DmonReader(text.splitlines(keepends=True))
    return list(reader), reader.skipped


def test_writes_what_nvidia_smi_prints() -> None:
    wall = time.mktime((2026, 8, 16, 9, 22, 34, 0, 0, -1))
    assert dmon.header() + dmon.row(wall, IDLE) == ORIGINAL


def test_reads_what_nvidia_smi_prints() -> None:
    (row,), skipped = read(ORIGINAL)
    assert skipped == 0
    assert (row.gpu, row.when) == (0, datetime(2026, 8, 16, 9, 22, 34))
    known = [6, 38, None, 0, 0, 0, 0, 0, 0, 405, 180, 0, 2]
    assert row.values == dict(zip(NAMES, known, strict=True))


def test_an_unknown_value_is_a_dash_and_never_a_zero() -> None:
    cells = dmon.row(0.0, GpuSample(7)).split()
    assert cells[2:] == ["7"] + ["-"] * 13


def test_reads_an_older_driver_with_fewer_and_narrower_columns() -> None:
    text = (
        "#Date       Time        gpu   pwr gtemp mtemp    sm   mem   enc   dec  mclk  pclk\n"
        "#YYYYMMDD   HH:MM:SS    Idx     W     C     C     %     %     %     %   MHz   MHz\n"
        " 20210316   09:22:34      0    70    41    40    99    35     0     0   877  1530\n"
        "\n"
        "#Date       Time        gpu   pwr gtemp mtemp    sm   mem   enc   dec  mclk  pclk\n"
        "#YYYYMMDD   HH:MM:SS    Idx     W     C     C     %     %     %     %   MHz   MHz\n"
        " 20210316   09:22:35      1    71    42     -    98    34     0     0   877  1530\n"
    )
    rows, skipped = read(text)
    assert skipped == 0
    assert [(row.gpu, row.values["pwr"], row.values["mtemp"], row.values["pclk"]) for row in rows]
    assert [row.values["mtemp"] for row in rows] == [40, None]
    assert "jpg" not in rows[0].values


def test_reads_other_columns_in_their_order_and_without_a_date() -> None:
    text = (
        "# gpu    fb   bar1   ccpm    sm\n# Idx    MB     MB     MB     %\n    3  1024  2  0  77\n"
    )
    (row,), skipped = read(text)
    assert skipped == 0
    assert (row.gpu, row.when) == (3, None)
    assert row.values == {"fb": 1024, "bar1": 2, "ccpm": 0, "sm": 77}


@pytest.mark.parametrize(
    "line",
    [
        " 20260816    09:22:34       0      6     38\n",  # cut
        ORIGINAL.splitlines()[2],  # whole but for the line end: perhaps cut in the last number
        ORIGINAL.splitlines()[2] + "5\n",
        ORIGINAL.splitlines()[2].replace("       0      6", "       x      6") + "\n",
        "killed\n",
        "\0\0\0\0\n",
    ],
)
def test_a_line_that_makes_no_sense_is_counted(line: str) -> None:
    rows, skipped = read(ORIGINAL + line)
    assert (len(rows), skipped) == (1, 1)


def test_rows_without_a_header_are_counted() -> None:
    assert read(ORIGINAL.splitlines(keepends=True)[2]) == ([], 1)


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "1e308", "N/A", "[?]", "1_0"])
def test_what_is_no_number_is_unknown(cell: str) -> None:
    (row,), _ = read(ORIGINAL.replace("    405", f" {cell:>6}"))
    assert row.values["mclk"] is None
    assert row.values["pclk"] == 180


values = st.none() | st.floats(0, 99999)
samples = st.builds(
    GpuSample,
    st.integers(0, 63),
    **{field: values for _, _, field in dmon.COLUMNS},
)
# Not within a clock change, which local time without a zone cannot tell.
moments = st.integers(0, 2_000_000_000).map(lambda day: day // 86400 * 86400 + 43200)


@given(st.lists(st.tuples(moments, samples), max_size=8), st.integers(1, 4))
def test_what_is_written_is_read(rows: list[tuple[int, GpuSample]], header_every: int) -> None:
    text = ""
    for at, (wall, sample) in enumerate(rows):
        head = dmon.header() if at % header_every == 0 else ""
        text += head + dmon.row(wall, sample)
    found, skipped = read(text)
    assert skipped == 0
    assert [row.gpu for row in found] == [sample.index for _, sample in rows]
    for row, (wall, sample) in zip(found, rows, strict=True):
        assert row.when == datetime.fromtimestamp(wall)
        for name, _, field in dmon.COLUMNS:
            value = getattr(sample, field)
            assert row.values[name] == (None if value is None else round(value))
    for line in text.splitlines():
        assert line.startswith("#") or len(line.split()) == 16
