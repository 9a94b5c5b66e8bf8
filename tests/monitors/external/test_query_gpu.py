"""`nvidia-smi --query-gpu --format=csv`: any columns, units or not, with a key or without."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.monitors.external.logs import analysis, node, query

BEGIN = datetime(2026, 6, 1, 11, 27)
KEYS: dict[str, Callable[[int], str]] = {
    "index": str,
    "uuid": "GPU-00000000-0000-0000-0000-00000000000{}".format,
    "gpu_uuid": "GPU-00000000-0000-0000-0000-00000000000{}".format,
    "pci.bus_id": "00000000:0{}:00.0".format,
}


def stamp(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]


def rows(ticks: int, gpus: int, interval: float = 1.0) -> list[tuple[str, int, int]]:
    """Time, GPU and tick of each row."""
    return [(stamp(t * interval + 0.011 * g), g, t) for t in range(ticks) for g in range(gpus)]


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("key", list(KEYS))
def test_each_key_tells_the_gpus_apart(tmp_path: Path, key: str, units: bool) -> None:
    columns = ["timestamp", key, "utilization.gpu [%]", "memory.used [MiB]", "memory.total [MiB]",
               "power.draw [W]", "temperature.gpu", "clocks.current.sm [MHz]"]  # fmt: skip
    text = query(
        columns,
        [
            (at, KEYS[key](g), str((3, 97)[g]), "38803", "40960", "301.25", str(61 + g), "1410")
            for at, g, _ in rows(20, 2)
        ],
        units=units,
        every=15,
    )
    found = node(tmp_path, text)
    assert [gpu.index for gpu in found.gpus] == [0, 1]
    assert [gpu.sm_pct.mean for gpu in found.gpus] == [3, 97]
    assert [gpu.temperature_c.peak for gpu in found.gpus] == [61, 62]
    assert {gpu.memory_used_mib.mean for gpu in found.gpus} == {38803}
    assert {gpu.memory_total_mib for gpu in found.gpus} == {40960}
    assert {gpu.sm_clock_mhz.mean for gpu in found.gpus} == {1410}
    assert found.samples == 20
    assert found.duration_s == pytest.approx(19.01, 0.01)
    assert found.problems == ("no file of vmstat",)


@pytest.mark.parametrize("gpus", [1, 2, 8])
@pytest.mark.parametrize("interval", [0.5, 1.0, 60.0])
def test_times_tell_the_gpus_apart_where_no_column_does(
    tmp_path: Path, gpus: int, interval: float
) -> None:
    text = query(
        ["timestamp", "utilization.gpu [%]"],
        [(at, str(10 + g)) for at, g, _ in rows(40, gpus, interval)],
    )
    found = node(tmp_path, text)
    assert [gpu.sm_pct.mean for gpu in found.gpus] == [10 + g for g in range(gpus)]
    assert any("no column tells which GPU a row is of" in problem for problem in found.problems)


def test_one_hiccup_does_not_confuse_that(tmp_path: Path) -> None:
    late = [(stamp(t + 0.011 * g + 10 * (t > 20)), str(10 + g)) for t in range(40) for g in (0, 1)]
    found = node(tmp_path, query(["timestamp", "utilization.gpu [%]"], late))
    assert [gpu.sm_pct.mean for gpu in found.gpus] == [10, 11]


def test_rows_of_one_gpu_need_no_key_and_no_time(tmp_path: Path) -> None:
    dice = random.Random(3)  # noqa: S311
    text = query(
        ["utilization.gpu [%]", "memory.used [MiB]"],
        [(str(90 + dice.randrange(9)), str(1000 + t // 9)) for t in range(60)],
    )
    found = node(tmp_path, text)
    assert found.gpus[0].sm_pct.mean == pytest.approx(94, abs=2)
    assert (found.began, found.duration_s) == (None, None)
    assert any("taken to be of one GPU" in problem for problem in found.problems)


def test_rows_of_several_gpus_without_key_and_time_are_refused(tmp_path: Path) -> None:
    text = query(
        ["utilization.gpu [%]", "memory.used [MiB]", "temperature.gpu"],
        [(str((3, 97)[g]), str(38800 + g), str(60 + 5 * g)) for _, g, _ in rows(20, 2)],
    )
    found = analysis(tmp_path, text)
    assert found.report.nodes == ()
    assert any("there seem to be several" in problem for problem in found.report.problems)


@pytest.mark.parametrize("gpus", [1, 2, 8])
@pytest.mark.parametrize("stamps", [True, False])
def test_a_header_at_each_moment_tells_the_gpus_apart(
    tmp_path: Path, gpus: int, stamps: bool
) -> None:
    """As a loop in a shell leaves it, which starts nvidia-smi each time."""
    columns = ["timestamp"] * stamps + ["utilization.gpu [%]"]
    table = [[at] * stamps + [str(10 + g)] for at, g, _ in rows(20, gpus, 5.0)]
    found = node(tmp_path, query(columns, table, every=gpus))
    assert [gpu.sm_pct.mean for gpu in found.gpus] == [10 + g for g in range(gpus)]


def test_many_rows_a_second_without_a_key_are_refused(tmp_path: Path) -> None:
    text = query(["timestamp", "utilization.gpu [%]"], [(stamp(t / 50), "50") for t in range(60)])
    assert analysis(tmp_path, text).report.nodes == ()


def test_a_clock_that_was_set_back_is_told(tmp_path: Path) -> None:
    again = [*rows(60, 1), *rows(60, 1)]
    columns = ["timestamp", "index", "utilization.gpu [%]"]
    for table, said in ((again, True), (rows(60, 2), False)):
        text = query(columns, [(at, str(g), "50") for at, g, _ in table])
        (record,) = analysis(tmp_path, text).report.nodes
        assert any("time goes back by 59 s" in problem for problem in record.problems) is said


def test_milliseconds_are_told_apart(tmp_path: Path) -> None:
    text = query(
        ["timestamp", "index", "utilization.gpu [%]"],
        [(at, str(g), "50") for at, g, _ in rows(100, 4, 0.1)],
    )
    found = analysis(tmp_path, text)
    assert found.timeline and found.timeline.step_s <= 0.25
    (record,) = found.report.nodes
    assert record.samples == 100


@pytest.mark.parametrize(
    "cell", ["[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "[Insufficient Permissions]", ""]
)
def test_what_is_no_value_is_unknown(tmp_path: Path, cell: str) -> None:
    text = query(
        ["timestamp", "index", "utilization.gpu [%]", "power.draw [W]"],
        [(at, "0", "50", cell) for at, _, _ in rows(20, 1)],
    )
    (gpu,) = node(tmp_path, text).gpus
    assert (gpu.sm_pct.mean, gpu.power_w.mean) == (50, None)


def test_a_gpu_that_is_lost_is_the_verdict(tmp_path: Path) -> None:
    text = query(
        ["timestamp", "index", "utilization.gpu [%]", "temperature.gpu"],
        [(at, str(g), *(["[GPU is lost]"] * 2 if g and t > 9 else ["97", "60"]))
         for at, g, t in rows(30, 2)],
    )  # fmt: skip
    found = analysis(tmp_path, text)
    assert found.verdict == "gpu GPU 1 stopped answering."
    assert "2026-06-01 11:27:10" in found.findings[0].evidence


def test_units_are_converted(tmp_path: Path) -> None:
    text = "timestamp, index, memory.used [GiB], power.draw [mW]\n"
    text += f"{stamp(0)}, 0, 37.5 GiB, 301000 mW\n" * 12
    (gpu,) = node(tmp_path, text).gpus
    assert (gpu.memory_used_mib.mean, gpu.power_w.mean) == (38400, 301)


def test_throttle_reasons_are_read_in_both_forms(tmp_path: Path) -> None:
    mask = query(
        ["timestamp", "index", "utilization.gpu [%]", "clocks_throttle_reasons.active"],
        [(at, "0", "97", "0x0000000000000020") for at, _, _ in rows(30, 1)],
    )
    words = query(
        ["timestamp", "index", "utilization.gpu [%]",
         "clocks_event_reasons.hw_thermal_slowdown", "clocks_event_reasons.sw_thermal_slowdown"],
        [(at, "0", "97", "Not Active", "Active") for at, _, _ in rows(30, 1)],
    )  # fmt: skip
    for text in (mask, words):
        assert analysis(tmp_path, text).findings[0].key == "thermal"


@pytest.mark.parametrize("begin", [b"\xef\xbb\xbf", b"\xff\xfe"])
def test_logs_written_on_windows_are_read(tmp_path: Path, begin: bytes) -> None:
    text = query(["index", "utilization.gpu [%]"], [("0", "50")] * 12).replace("\n", "\r\n")
    path = tmp_path / "gpu.txt"
    path.write_bytes(begin + text.encode("utf-16-le" if begin == b"\xff\xfe" else "utf-8"))
    from monitors.analysis.analysis import analyse_files

    (record,) = analyse_files([path], []).report.nodes
    assert record.gpus[0].sm_pct.mean == 50


def test_a_table_that_pandas_saved_is_read(tmp_path: Path) -> None:
    text = ",timestamp,index,utilization.gpu [%]\n"
    text += "".join(f"{t},{stamp(t)},0,50 %\n" for t in range(12))
    assert node(tmp_path, text).gpus[0].sm_pct.mean == 50


USED = {
    "utilization.gpu [%]": ("sm_pct", 100),
    "utilization.memory [%]": ("mem_pct", 100),
    "memory.used [MiB]": ("memory_used_mib", 80_000),
    "power.draw [W]": ("power_w", 700),
    "temperature.gpu": ("temperature_c", 90),
    "clocks.current.sm [MHz]": ("sm_clock_mhz", 2000),
}
IGNORED = ["driver_version", "pstate", "fan.speed [%]", "compute_mode", "pcie.link.gen.current"]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), units=st.booleans(), gpus=st.integers(1, 3))
def test_any_columns_in_any_order_give_their_means(
    data: st.DataObject, units: bool, gpus: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = data.draw(st.lists(st.sampled_from(list(USED)), min_size=1, unique=True))
    ignored = data.draw(st.lists(st.sampled_from(IGNORED), unique=True))
    columns = data.draw(st.permutations(["timestamp", "index", *names, *ignored]))
    values = {
        (name, g): data.draw(st.integers(0, USED[name][1])) for name in names for g in range(gpus)
    }

    def cell(column: str, at: str, g: int) -> str:
        known = {"timestamp": at, "index": str(g)}
        return known.get(column) or (str(values[column, g]) if column in USED else "P0")

    table = [[cell(column, at, g) for column in columns] for at, g, _ in rows(12, gpus)]
    found = node(tmp_path_factory.mktemp("q"), query(columns, table, units=units, every=7))
    assert len(found.gpus) == gpus
    for g, gpu in enumerate(found.gpus):
        for name, (field, _) in USED.items():
            assert getattr(gpu, field).mean == values.get((name, g))
