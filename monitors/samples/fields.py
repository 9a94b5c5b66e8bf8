"""What follows from the declarations of `monitors.samples.gpu` and `monitors.samples.host`."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.samples.gpu import GpuSample
from monitors.samples.host import HostSample
from monitors.samples.metric import Metric, metrics_of

Value = float | int
GPU_METRICS: dict[str, Metric] = metrics_of(GpuSample)
HOST_METRICS: dict[str, Metric] = metrics_of(HostSample)
"""What is declared of each value of a GPU, and of the host, by the name of its field."""
GPU_FIELDS, HOST_FIELDS = tuple(GPU_METRICS), tuple(HOST_METRICS)
WHOLE_NUMBERS = frozenset(
    {
        "index",
        *(name for name, metric in (GPU_METRICS | HOST_METRICS).items() if metric.whole),
    }
)
"""Names of the values that are whole numbers by their nature."""


@dataclass(frozen=True, slots=True)
class ReportColumns:
    """Names of the sampled values that are loaded for a report."""

    gpu: tuple[str, ...]
    host: tuple[str, ...]


def report_columns() -> ReportColumns:
    """Return which values are declared with `report=True`."""
    return ReportColumns(
        tuple(name for name, metric in GPU_METRICS.items() if metric.report),
        tuple(name for name, metric in HOST_METRICS.items() if metric.report),
    )


def known_values(sample: GpuSample | HostSample) -> dict[str, Value]:
    """Return the values of a sample that are known, by their names."""
    names = GPU_FIELDS if isinstance(sample, GpuSample) else HOST_FIELDS
    pairs = ((name, getattr(sample, name)) for name in names)
    return {name: value for name, value in pairs if value is not None}
