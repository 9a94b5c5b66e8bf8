"""A sampled value is declared once: its declaration is whole, and everything else follows it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pytest

from monitors.analysis.columns import GPU_COLUMNS, GPU_LOADED, HOST_COLUMNS, HOST_LOADED, derived
from monitors.analysis.trace import GpuTrace, NodeTrace
from monitors.exports.families import FAMILIES
from monitors.external.rows import RUNNABLE
from monitors.recorder.devices.field_values import FIELDS
from monitors.records import GpuInfo, GpuSample, HostSample
from monitors.samples.fields import GPU_METRICS, HOST_METRICS, WHOLE_NUMBERS, report_columns
from monitors.samples.metric import UNITS, Metric, counter, gauge, metrics_of

ALL = GPU_METRICS | HOST_METRICS


def test_every_value_is_declared() -> None:
    declared = {*GPU_METRICS, *HOST_METRICS}
    assert {f.name for kind in (GpuSample, HostSample) for f in fields(kind)} - declared == {
        "index"
    }
    assert len(ALL) == len(GPU_METRICS) + len(HOST_METRICS), "a name tells what it is of"


@pytest.mark.parametrize("name", ALL)
def test_the_name_ends_with_the_unit(name: str) -> None:
    assert name.endswith(UNITS[ALL[name].unit].suffix)
    others = [unit.suffix for unit in UNITS.values() if unit.suffix]
    assert ALL[name].unit or not name.endswith(tuple(others)), "its unit is not declared"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_family_is_named_as_openmetrics_wants(name: str) -> None:
    family = FAMILIES[name]
    assert family.name.startswith("job_")
    assert family.name.endswith(family.unit)
    assert not family.name.endswith("_total"), "the format adds it"
    assert family.help.endswith(".")


def test_a_field_of_nvml_is_a_declared_value() -> None:
    assert FIELDS.keys() <= GPU_METRICS.keys()
    for name, field in FIELDS.items():
        assert field.of_links == GPU_METRICS[name].seldom, "seldom is what is read seldom"


def test_no_two_values_share_a_family() -> None:
    assert len({family.name for family in FAMILIES.values()}) == len(FAMILIES)


def test_a_declaration_carries_its_type() -> None:
    @dataclass(frozen=True)
    class Sample:
        made_up_mib: float | None = gauge("MiB", "job_made_up_bytes", "Made up.", report=True)
        events: int | None = counter("", "job_events", "Events.", seldom=True)
        other: int = 0

    assert Sample().made_up_mib is None
    assert metrics_of(Sample) == {
        "made_up_mib": Metric("MiB", "job_made_up_bytes", "Made up.", report=True),
        "events": Metric("", "job_events", "Events.", counter=True, seldom=True, whole=True),
    }


def test_whole_numbers_are_those_of_which_the_type_says_so() -> None:
    assert {"index", "throttle", "net_rx_bytes", "processes"} <= WHOLE_NUMBERS
    assert not {"power_w", "energy_j", "load1", "cgroup_cpu_s"} & WHOLE_NUMBERS


def test_what_the_report_is_to_have_is_loaded_and_shown() -> None:
    columns = report_columns()
    assert set(columns.gpu) <= set(GPU_COLUMNS)
    assert set(columns.host) <= set(HOST_COLUMNS)
    time = np.arange(5.0)
    trace = NodeTrace(
        "n1",
        time,
        time,
        np.zeros(5, dtype=np.int64),
        dict.fromkeys(HOST_COLUMNS, time),
        (GpuTrace(GpuInfo(0), dict.fromkeys(GPU_COLUMNS, time)),),
    )
    host, (gpu,) = derived(trace)
    assert set(host) == HOST_LOADED - {RUNNABLE}, "that is vmstat's alone"
    assert set(gpu) == GPU_LOADED
    assert set(columns.gpu) <= GPU_LOADED
    counters = {name for name in columns.host if HOST_METRICS[name].counter}
    assert set(columns.host) - counters <= HOST_LOADED
    assert len(HOST_LOADED - {RUNNABLE}) == len(columns.host), "each counter has its rate"
