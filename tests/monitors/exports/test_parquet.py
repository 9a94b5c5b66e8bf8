"""Parquet: the values of the row-wise export, read back by DuckDB, pandas and Polars."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.exports import parquet
from monitors.exports.export import export
from monitors.exports.rows import RecordedNode, rows
from monitors.records import GpuSample, HostSample, Record
from monitors.samples.fields import GPU_FIELDS, GPU_METRICS, HOST_FIELDS, HOST_METRICS
from monitors.samples.metric import UNITS
from monitors.storage.journal import Journal
from tests.monitors import restless
from tests.monitors.generate import records
from tests.monitors.journals import blocks_in, journal_of, write
from tests.monitors.recorded import GPU_A, GPU_B, NOON, start, tick, write_samples


def exported(folder: Path, node: str = "n1") -> Path:
    (path,) = export(folder, "parquet", folder / "out", [node])
    return path


def by_rows(folder: Path) -> list[tuple[Any, ...]]:
    """What the row-wise export has, as a sorted list of time, GPU, UUID and values."""
    found = [
        (round(row.wall * 1000), row.gpu, row.uuid, *_values(row.values))
        for row in rows(RecordedNode("n1", folder))
    ]
    return sorted(found, key=_order)


def by_parquet(path: Path) -> list[tuple[Any, ...]]:
    found = [
        (
            round(row["time"].timestamp() * 1000),
            row["gpu"],
            row["uuid"],
            *_values(row),
        )
        for row in pq.read_table(path).to_pylist()
    ]
    return sorted(found, key=_order)


def _values(row: Any) -> Iterable[float | None]:
    for name in (*GPU_FIELDS, *HOST_FIELDS):
        value = row.get(name)
        yield None if value is None else float(value)


def _order(row: tuple[Any, ...]) -> tuple[Any, ...]:
    time, gpu, uuid, *values = row
    return (time, -1 if gpu is None else gpu, str(uuid), str(values))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings, most of both in blocks; the second begins with other GPUs, all silent."""
    folder = tmp_path_factory.mktemp("recorded")
    journal: Journal = journal_of(folder)
    write(journal, [start(*restless.infos(0, 2)), *restless.ticks(0, 2, 120)])
    write(journal, [start(*restless.infos(1, 3), after=200)])
    write(journal, [tick(n, silent=True, after=200) for n in range(3)])
    later = [tick(n, *(GpuSample(i, 100.0 + n) for i in range(3)), after=200) for n in range(3, 9)]
    write(journal, [*later])
    journal.close()
    assert blocks_in(folder) > 1, "nothing is packed: this would test the journal alone"
    return folder


def test_it_holds_what_the_row_wise_export_holds(folder: Path) -> None:
    found = by_parquet(exported(folder))
    assert found == by_rows(folder)
    assert len(found) == 120 * 3 + 3 + 6 * 4


def test_the_newest_minutes_come_from_the_journal(folder: Path) -> None:
    newest = max(row.wall for row in rows(RecordedNode("n1", folder)))
    times = pq.read_table(exported(folder), columns=["time"])["time"].to_pylist()
    assert max(times) == datetime.fromtimestamp(newest, UTC)


def test_groups_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 60)
    path = exported(folder)
    file = pq.ParquetFile(path)
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    # A group ends with the block, or the run of single ticks, that fills it.
    assert len(sizes) > 3
    assert max(sizes) < sum(sizes) / 2
    assert by_parquet(path) == by_rows(folder)


def test_columns_say_what_they_mean_and_in_which_unit(folder: Path) -> None:
    schema = pq.read_schema(exported(folder))
    assert schema.names == ["time", "node", "gpu", "uuid", *GPU_FIELDS, *HOST_FIELDS]
    for name, metric in (GPU_METRICS | HOST_METRICS).items():
        metadata = schema.field(name).metadata
        assert metadata[b"description"].decode() == metric.help
        assert metadata[b"unit"].decode() == metric.unit
        assert name.endswith(UNITS[metric.unit].suffix)
    columns = json.loads(schema.metadata[b"columns"])
    assert columns["power_w"] == {"unit": "W", "description": "Power drawn by the GPU."}
    assert set(columns) == set(schema.names)


def small(tmp_path: Path) -> Path:
    host = HostSample(cpu_busy_pct=12.5, net_rx_bytes=2**60)
    ticks: list[Record] = [
        tick(n, GpuSample(0, power_w=300.0 + n), GpuSample(1, sm_pct=7), host=host)
        for n in range(3)
    ]
    write_samples(tmp_path, [start(GPU_A, GPU_B), *ticks])
    return exported(tmp_path)


def test_duckdb_reads_it(tmp_path: Path) -> None:
    path = small(tmp_path)
    found = duckdb.execute(
        f"SELECT gpu, avg(power_w), count(sm_pct) FROM '{path}' GROUP BY gpu ORDER BY gpu"  # noqa: S608
    ).fetchall()
    assert found == [(0, 301.0, 0), (1, None, 3), (None, None, 0)]
    (metadata,) = duckdb.execute(
        f"SELECT value FROM parquet_kv_metadata('{path}') WHERE key = 'columns'"  # noqa: S608
    ).fetchall()
    assert json.loads(metadata[0])["sm_pct"]["unit"] == "%"


def test_pandas_reads_it(tmp_path: Path) -> None:
    table = pandas.read_parquet(small(tmp_path))
    assert table.groupby("gpu")["power_w"].mean()[0] == 301.0
    assert table["power_w"].isna().sum() == 6, "what is not known is no zero"
    assert table["time"].min() == pandas.Timestamp(NOON + 1, unit="s", tz="UTC")
    assert set(table["uuid"].dropna()) == {"GPU-aaaa", "GPU-bbbb"}


def test_polars_reads_it(tmp_path: Path) -> None:
    table = polars.read_parquet(small(tmp_path))
    hosts = table.filter(polars.col("gpu").is_null())
    assert hosts["cpu_busy_pct"].to_list() == [12.5] * 3
    assert hosts["net_rx_bytes"].to_list() == [2.0**60] * 3
    assert hosts["power_w"].null_count() == 3
    assert table["time"].dtype == polars.Datetime("ms", "UTC")


@settings(max_examples=40, deadline=None)
@given(written=st.lists(records, max_size=8))
def test_whatever_is_recorded_it_is_what_rows_have(
    written: list[Record], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    write_samples(folder, written)
    found = by_parquet(exported(folder))
    expected = by_rows(folder)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[1:] == theirs[1:]
        assert math.isclose(ours[0], theirs[0], abs_tol=1)
