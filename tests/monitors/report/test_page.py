"""The page with plots: what stands in it, how large it gets, and that nothing in it is code."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitors.analysis import findings
from monitors.analysis.analysis import JobContext, analyse_folder
from monitors.analysis.columns import GPU_LOADED, HOST_LOADED
from monitors.analysis.finding import Finding
from monitors.analysis.timeline import Band, GpuLine, NodeLine, Timeline
from monitors.records import GpuInfo, GpuSample, HostSample, Note, Record
from monitors.report.build import render_html
from monitors.report.chart_list import CHARTS
from monitors.report.charts import quantized
from tests.monitors import traces
from tests.monitors.recorded import NOON, start, tick, write_samples

EVIL = "<script>alert(1)</script>"


def data_of(page: str) -> Any:
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert text
    return json.loads(text[1])


def levels(line: dict[str, Any]) -> np.ndarray:
    """Low, high and mean of each cell, 0 to 254, 255 unknown."""
    return np.frombuffer(base64.b64decode(line["data"]), dtype=np.uint8).reshape(-1, 3)


def chart(data: Any, title: str, node: int = 0) -> Any:
    """A chart's axis, with the lines that it shows of a node."""
    (found,) = [c for c in data["charts"] if c["title"] == title]
    return {**found, "lines": data["nodes"][node]["lines"][found["key"]]}


def test_the_parts_of_the_page_are_in_order(tmp_path: Path) -> None:
    traces.record(tmp_path, seconds=200)
    context = JobContext(
        "my-run",
        (("model", "org/model"), ("command", "hpclaunch sbatch " + "x" * 60)),
        (("state", "done"),),
        tuple(traces.events(200)),
    )
    page = render_html(analyse_folder(tmp_path, context))
    parts = ["Nothing stands out.", "Findings", "Run", "Outcome", "Where the time went"]
    parts += ["Over time", "GPUs", "Quality of the data"]
    heads = ["<h1>Nothing stands out.</h1>", *(f"<h2>{part}</h2>" for part in parts[1:])]
    at = [page.index(head) for head in heads]
    assert at == sorted(at)
    for text in ("my-run", "<dd>org/model</dd>", "<dd>done</dd>", "loading the model"):
        assert text in page
    for text in ("NVIDIA A100", "GPU-hours", "throughput", "tokens/s in all"):
        assert text in page


def test_a_finding_links_to_the_plots_that_show_it(tmp_path: Path) -> None:
    def slow(node: str, index: int, t: int) -> dict[str, Any]:
        return {"sm_clock_mhz": 900} if (node, index) == ("n2", 1) and t > 50 else {}

    traces.record(tmp_path, gpu=slow, seconds=200)
    found = analyse_folder(tmp_path, JobContext(events=tuple(traces.events(200))))
    page = render_html(found)
    assert found.findings[0].where == ("n2 GPU 1",)
    links = re.findall(r'<a href="#(.*?)" data-chart="(.*?)" data-node="(.*?)" .*?>(.*?)</a>', page)
    assert links[0] == ("plot-sm_clock_mhz-1", "sm_clock_mhz", "n2", "SM clock of n2")
    assert page.index("<h1>") < page.index("<a href=") < page.index("<h2>Outcome</h2>")


def test_every_rule_names_columns_that_are_loaded() -> None:
    shown = {column for each in CHARTS for column in each.columns}
    assert shown <= GPU_LOADED | HOST_LOADED
    sources = Path(findings.__file__).parent.glob("*.py")
    named = [
        column
        for source in sources
        for columns in re.findall(r"columns=\((.*?)\)", source.read_text(), re.DOTALL)
        for column in re.findall(r'"(\w+)"', columns)
    ]
    assert len(named) > 20
    assert set(named) <= GPU_LOADED | HOST_LOADED


def test_a_value_that_has_no_plot_gets_one_where_a_finding_rests_on_it(tmp_path: Path) -> None:
    def hot(_node: str, _index: int, t: int) -> dict[str, Any]:
        return {"memory_temperature_c": 60 + t % 30, "pcie_rx_mb_s": 100 * t}

    traces.record(tmp_path, nodes=1, gpus=2, seconds=60, gpu=hot)
    found = analyse_folder(tmp_path)
    columns = ("memory_temperature_c", "psi_cpu_pct", "load1", "low")
    finding = Finding("new", "A new rule.", "It was hot.", "Heat.", "Cool it.", columns=columns)
    page = render_html(replace(found, findings=(finding,)))
    charts = {each["key"]: each for each in data_of(page)["charts"]}
    assert charts["memory_temperature_c"]["title"] == "Temperature of the GPU's memory"
    assert charts["memory_temperature_c"]["unit"] == "°C"
    assert 'href="#plot-memory_temperature_c-0"' in page
    assert "pcie_rx_mb_s" not in charts, "nothing rests on it"


def test_a_finding_on_a_column_that_is_not_loaded_fails(tmp_path: Path) -> None:
    found = analyse_folder(traces.record(tmp_path, nodes=1, gpus=1, seconds=20))
    finding = Finding("new", "A new rule.", "-", "-", "-", columns=("sm_percent",))
    with pytest.raises(LookupError, match="sm_percent"):
        render_html(replace(found, findings=(finding,)))


def test_the_table_of_gpus_has_what_each_did(tmp_path: Path) -> None:
    def hot(node: str, index: int, t: int) -> dict[str, Any]:
        active = {"sm_active_pct": 70} if t % 5 == 0 else {}
        return {**active, "temperature_c": 91 if (node, index) == ("n1", 3) else 60}

    traces.record(tmp_path, nodes=1, seconds=100, gpu=hot)
    page = render_html(analyse_folder(tmp_path))
    table = page[page.index('<table id="gpus">') : page.index("</table>")]
    heads = re.findall(r"<button.*?>(.*?)</button>", table)
    assert heads[3:9] == [
        "utilization, %", "SM activity, %", "power, W", "peak power, W", "SM clock, MHz",
        "peak temperature, °C",
    ]  # fmt: skip
    last = re.findall(r"<td.*?>(.*?)</td>", table)[-len(heads) :]
    assert (last[0], last[1], last[4], last[8], last[10]) == ("n1", "3", "70", "91", "80.0")


def test_a_page_asks_for_nothing_outside(tmp_path: Path) -> None:
    page = render_html(analyse_folder(traces.record(tmp_path, seconds=30)))
    page = page.replace("/*! https://github.com/leeoniya/uPlot", "")  # in its licence's comment
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)|@import|url\(|https?://""", page)
    assert "default-src 'none'" in page


def test_no_text_from_outside_becomes_code(tmp_path: Path) -> None:
    node = "<script>alert(2)<"
    info = GpuInfo(0, EVIL, EVIL, EVIL, 100.0, 300.0)
    records: list[Record] = [
        start(info, node=EVIL, problem=EVIL),
        *(tick(n, GpuSample(0, 50.0, sm_pct=3), host=HostSample(10.0)) for n in range(20)),
        Note(NOON, f"GPU 0 is no longer sampled: {EVIL}"),
    ]
    write_samples(tmp_path, records, node)
    context = JobContext(
        EVIL, ((EVIL, EVIL),), ((EVIL, EVIL),), fixes={"lost-gpu": EVIL, "idle": EVIL}
    )
    page = render_html(analyse_folder(tmp_path, context))
    assert page.count("<script") == 4, "the data, the plotting library, and the page's own two"
    assert "alert(1)&lt;/script&gt;" in page
    assert data_of(page)["nodes"][0]["name"] == node


def test_a_spike_of_one_second_stays_visible(tmp_path: Path) -> None:
    def spike(node: str, index: int, t: int) -> dict[str, Any]:
        return {"power_w": 399.0 if t == 5000 else 0.5 if t == 7000 else 200.0}

    traces.record(tmp_path, nodes=1, gpus=1, seconds=9000, gpu=spike)
    data = data_of(render_html(analyse_folder(tmp_path)))
    assert data["cells"] <= 2048, "several seconds a cell"
    power = levels(chart(data, "GPU power")["lines"][0])
    scale = 254 / 400
    assert (power[:, 1].max(), power[:, 0].min()) == (round(399 * scale), 0)
    cell = int((NOON + 5000.5 - data["begin"]) // data["step"])
    assert power[:, 1].argmax() == cell


def test_what_is_not_known_is_a_gap_and_no_zero(tmp_path: Path) -> None:
    def silent(node: str, index: int, t: int) -> dict[str, Any]:
        return {"power_w": None} if 100 <= t < 150 else {}

    traces.record(tmp_path, nodes=1, gpus=1, seconds=200, gpu=silent)
    power = levels(chart(data_of(render_html(analyse_folder(tmp_path))), "GPU power")["lines"][0])
    unknown = np.flatnonzero((power == 255).all(axis=1))
    assert 20 <= len(unknown) <= 26, "cells of two seconds"
    known = np.delete(power, unknown, axis=0)
    assert known[:, 0].min() > 30, "62 W of 400, at the least"


def every_fifth(_node: str, index: int, t: int) -> dict[str, Any]:
    if (t + index) % 5:
        return {}
    return {"tensor_active_pct": 40, "nvlink_rx_mb_s": 2000, "nvlink_tx_mb_s": 3000}


def test_what_is_told_every_few_ticks_leaves_no_gaps(tmp_path: Path) -> None:
    traces.record(tmp_path, nodes=1, gpus=2, seconds=60, gpu=every_fifth)
    data = data_of(render_html(analyse_folder(tmp_path)))
    for title, top, value in (
        ("Tensor core activity", 100, 40),
        ("NVLink, in and out", 5, 5),
    ):
        found = chart(data, title)
        assert (len(found["lines"]), found["top"]) == (2, top)
        cells = levels(found["lines"][0])[:, 2]
        assert set(cells[1:-3]) == {round(254 * value / top)}, title


def test_a_gpu_that_is_not_told_of_for_long_has_a_gap(tmp_path: Path) -> None:
    def paused(node: str, index: int, t: int) -> dict[str, Any]:
        return every_fifth(node, index, t) if not 50 <= t < 110 else {}

    traces.record(tmp_path, nodes=1, gpus=1, seconds=160, gpu=paused)
    cells = levels(
        chart(data_of(render_html(analyse_folder(tmp_path))), "Tensor core activity")["lines"][0]
    )
    assert (cells[:, 2] == 255).sum() >= 15, "45 s in cells of 2 s"


def test_without_tensor_cores_and_nvlink_there_is_no_chart_of_them(tmp_path: Path) -> None:
    data = data_of(render_html(analyse_folder(traces.record(tmp_path, seconds=20))))
    assert [c["title"] for c in data["charts"]][:2] == ["GPU utilization", "GPU power"]


def test_half_unknown_bands_are_packed_as_unknown() -> None:
    nan = float("nan")
    column = np.array([0.0, nan, 100.0, 250.0], dtype=np.float32)
    raw = base64.b64decode(quantized(Band(column, column, column), 0.0, 200.0))
    assert list(raw[::3]) == [0, 255, 127, 254]
    raw = base64.b64decode(quantized(Band(column, column, column), 50.0, 250.0))
    assert list(raw[::3]) == [0, 255, 64, 254]


def day(nodes: int, gpus: int, cells: int = 4096) -> Timeline:
    """Restless values, which do not compress to nothing, over a long run."""
    dice = np.random.default_rng(1)

    def band(top: float) -> Band:
        values = (dice.random(cells) * top).astype(np.float32)
        return Band(values * 0.5, values * 0.75, values)

    def line(number: int) -> NodeLine:
        host = {name: band(90) for each in CHARTS if each.of == "host" for name in each.columns}
        of_gpu = [each.key for each in CHARTS if each.of == "gpu"]
        cards = tuple(
            GpuLine(traces.gpu_info(number, at), {name: band(90) for name in of_gpu})
            for at in range(gpus)
        )
        return NodeLine(f"node{number}", 5, 55_000_000, cells, host, cards)

    return Timeline(55_000_000 * 32.0, 32.0, cells, tuple(line(n) for n in range(nodes)))


def page_over(timeline: Timeline, tmp_path: Path) -> str:
    found = analyse_folder(traces.record(tmp_path, nodes=1, gpus=1, seconds=20))
    return render_html(replace(found, timeline=timeline))


def test_a_long_run_of_16_gpus_stays_under_2_mb(tmp_path: Path) -> None:
    page = page_over(day(2, 8), tmp_path)
    assert len(page.encode()) < 2_000_000
    assert data_of(page)["cells"] >= 1024


def test_a_long_run_of_512_gpus_stays_under_5_mb(tmp_path: Path) -> None:
    page = page_over(day(64, 8), tmp_path)
    assert len(page.encode()) < 5_000_000
    assert data_of(page)["cells"] >= 128


def test_nothing_recorded_is_a_page_too(tmp_path: Path) -> None:
    page = render_html(analyse_folder(tmp_path))
    assert "Too few samples for a verdict." in page
    assert data_of(page) is None
