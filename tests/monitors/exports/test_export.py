"""Exports, each read back by what it is meant for; what was not known is never a zero."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.exports.export import ExportError, export
from monitors.exports.formats import FORMATS
from monitors.external.dmon import DmonReader
from monitors.external.vmstat import COLUMNS, VmstatReader
from monitors.records import GpuSample, HostSample, Record, Tick
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from tests.monitors.generate import damaged, records
from tests.monitors.recorded import GPU_A, GPU_B, NOON, start, tick, write_samples
from tests.monitors.running import ROOT

FULL = GpuSample(
    0, power_w=312.4, temperature_c=61, memory_temperature_c=70, sm_pct=98, mem_pct=40, enc_pct=1,
    dec_pct=2, jpg_pct=3, ofa_pct=4, memory_clock_mhz=1593, sm_clock_mhz=1410, pcie_rx_mb_s=10.5,
    pcie_tx_mb_s=20.5, memory_used_mib=65_536.0, throttle=4, energy_j=1e6,
)  # fmt: skip
BARE = GpuSample(1, sm_pct=7)
HOST = HostSample(12.5, 0.5, 3.25, 1000.0, 2000.0, 0.0, net_rx_bytes=123456, psi_io_pct=1.5)
ROW = tuple(range(len(COLUMNS)))


def record(folder: Path, *nodes: str, ticks: int = 3, offset: int = 0) -> Path:
    for node in nodes or ("n1",):
        body: list[Record] = [start(GPU_A, GPU_B, node=node, offset=offset)]
        for n in range(ticks):
            made = tick(n, FULL, BARE, host=HOST)
            body.append(Tick(made.n, made.wall, made.mono, made.host, made.gpus, None, ROW))
        write_samples(folder, body, node)
    return folder


def text(folder: Path, form: str, *nodes: str) -> str:
    out = io.StringIO()
    assert export(folder, form, None, nodes, out) == []
    return out.getvalue()


def test_dmon_is_what_scripts_for_dmon_expect(tmp_path: Path) -> None:
    lines = text(record(tmp_path), "dmon").splitlines()
    body = [line for line in lines if line and not line.startswith("#")]
    assert {len(line.split()) for line in body} == {16}, "such scripts drop every other row"
    assert body[0] == (
        " 20260921    14:13:21       0    312     61     70     98     40      1      2      3"
        "      4   1593   1410     10     20 "
    )
    assert body[1].split()[2:] == ["1", "-", "-", "-", "7", *"-" * 9]
    reader = DmonReader(line + "\n" for line in lines)
    assert len(list(reader)) == 6
    assert reader.skipped == 0


def test_vmstat_is_what_scripts_for_vmstat_expect(tmp_path: Path) -> None:
    shown = text(record(tmp_path, ticks=30), "vmstat").splitlines(keepends=True)
    assert [number for number, line in enumerate(shown) if line.startswith("procs")] == [0, 22]
    reader = VmstatReader(shown)
    found = list(reader)
    assert (len(found), reader.skipped) == (30, 0)
    assert found[0].values == dict(zip(COLUMNS, ROW, strict=True))
    assert found[0].zone == "UTC"


def test_times_are_the_nodes_own_wherever_it_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, offset=2 * 3600)
    command = [sys.executable, "-m", "monitors.exports.export", str(tmp_path), "--to"]
    env = {"TZ": "America/New_York", "PYTHONPATH": str(ROOT)}
    for form, shown in (
        ("dmon", "16:13:21"),
        ("vmstat", "16:13:21"),
        ("csv", "16:13:21.000+02:00"),
    ):
        done = subprocess.run([*command, form], env=env, capture_output=True, text=True, check=True)
        assert shown in done.stdout, form


def test_csv_has_blanks_for_what_is_not_known(tmp_path: Path) -> None:
    found = list(csv.DictReader(io.StringIO(text(record(tmp_path, "n1", "n2"), "csv"))))
    assert len(found) == 2 * 3 * 3
    assert [row["gpu"] for row in found[:3]] == ["", "0", "1"]
    assert (found[0]["cpu_busy_pct"], found[0]["sm_pct"]) == ("12.5", "")
    assert (found[2]["sm_pct"], found[2]["power_w"]) == ("7", "")
    assert {row["node"] for row in found} == {"n1", "n2"}


def test_json_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    found = [json.loads(line) for line in text(record(tmp_path), "json").splitlines()]
    moment = datetime.fromtimestamp(NOON + 1, UTC).isoformat(timespec="milliseconds")
    assert found[2] == {"time": moment, "node": "n1", "gpu": 1, "uuid": "GPU-bbbb", "sm_pct": 7}
    assert "swap_mib_s" not in found[0]


def test_openmetrics_is_understood_by_prometheus(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    shown = text(record(tmp_path, "n1", 'evil"\\node'), "openmetrics")
    families = {f.name: f for f in parser.text_string_to_metric_families(shown)}
    power = families["job_gpu_power_watts"].samples
    assert [(s.labels["node"], s.labels["gpu"], s.value) for s in power] == [
        *[('evil"\\node', "0", 312.4)] * 3,
        *[("n1", "0", 312.4)] * 3,
    ]
    assert float(power[0].timestamp) == NOON + 1
    (first, *_) = families["job_gpu_memory_used_bytes"].samples
    assert first.value == 65_536 * 2**20
    assert families["job_node_cpu_busy_ratio"].samples[0].value == 0.125
    received = families["job_node_network_received_bytes"]
    assert (received.type, received.unit) == ("counter", "bytes")
    assert received.samples[0].name == "job_node_network_received_bytes_total"
    assert all(family.documentation for family in families.values())


def test_tensorboard_reads_its_events(tmp_path: Path) -> None:
    module = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(module)
    (tmp_path / "in").mkdir()
    (path,) = export(record(tmp_path / "in"), "tensorboard", tmp_path / "out")
    found = accumulator.EventAccumulator(str(path)).Reload()
    assert "gpu1/sm_pct" in found.Tags()["scalars"]
    assert "gpu1/power_w" not in found.Tags()["scalars"]
    events = found.Scalars("gpu0/power_w")
    assert [(event.step, round(event.value, 1)) for event in events] == [
        (0, 312.4), (1, 312.4), (2, 312.4)
    ]  # fmt: skip


def test_a_file_a_node(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    record(tmp_path / "in", "n1", "n2")
    paths = export(tmp_path / "in", "dmon", tmp_path / "out", ["n2"])
    assert [path.name for path in paths] == ["n2.dmon.txt"]
    assert paths[0].read_text() == text(tmp_path / "in", "dmon", "n2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dmon", None, ()), "choose one with --node (n1, n2)"),
        (("vmstat", None, ("n3",)), "no samples of a node n3; there are n1, n2"),
        (("parquet", None, ()), "name a folder with --out"),
        (("pdf", None, ()), "there are dmon, vmstat, csv"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, arguments: Any, words: str) -> None:
    record(tmp_path, "n1", "n2")
    with pytest.raises(ExportError) as caught:
        export(tmp_path, arguments[0], arguments[1], arguments[2], io.StringIO())
    assert words in str(caught.value)


def test_the_record_itself_is_never_written_over(tmp_path: Path) -> None:
    record(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ExportError):
        export(tmp_path, "dmon", tmp_path / ".." / tmp_path.name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="holds no samples"):
        export(tmp_path, "csv", None)
    write_samples(tmp_path, [start(), tick(0)])
    for form in ("dmon", "vmstat"):
        with pytest.raises(ExportError, match="no sample"):
            export(tmp_path, form, None, stream=io.StringIO())


@settings(max_examples=60, deadline=None)
@given(data=st.data(), form=st.sampled_from([f for f in FORMATS if f != "tensorboard"]))
def test_any_damage_ends_in_an_export_or_a_sentence(
    data: st.DataObject, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    whole = "".join(map(json_lines.line, data.draw(st.lists(records, max_size=6)))).encode()
    filenames.path_of(folder, "n1", filenames.SAMPLES).write_bytes(data.draw(damaged(whole)))
    try:
        export(folder, form, folder / "out")
    except ExportError as error:
        assert str(error)


@pytest.mark.parametrize("name", ["=cmd|calc", "+1", "-1", "@SUM(A1)", "\uff1d1"])
def test_a_name_is_no_formula_of_a_spreadsheet(tmp_path: Path, name: str) -> None:
    record(tmp_path, "n1")
    for path in list(tmp_path.glob("n1.*")):
        path.rename(path.with_name(path.name.replace("n1", name, 1)))
    rows = list(csv.DictReader(io.StringIO(text(tmp_path, "csv"))))
    assert rows and {row["node"] for row in rows} == {f"'{name}"}
