"""What is declared of a sampled value, once, beside its field in `monitors.samples`."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

_MIB = 1 << 20
_KEY = "metric"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of recorded values: how their names end, and what it becomes in OpenMetrics."""

    suffix: str
    """How the name of a value in this unit ends."""
    base: str = ""
    """The base unit that OpenMetrics wants instead, with which a family's name ends."""
    factor: float = 1
    """What a recorded value is multiplied by to be in the base unit."""


UNITS = {
    "": Unit(""),
    "W": Unit("_w", "watts"),
    "J": Unit("_j", "joules"),
    "C": Unit("_c", "celsius"),
    "%": Unit("_pct", "ratio", 0.01),
    "% of a core": Unit("_pct", "", 0.01),
    "MHz": Unit("_mhz", "hertz", 1e6),
    "MiB": Unit("_mib", "bytes", _MIB),
    "bytes": Unit("_bytes", "bytes"),
    "s": Unit("_s", "seconds"),
    # OpenMetrics has no unit for a rate.
    "MB/s": Unit("_mb_s", "", 1e6),
    "MiB/s": Unit("_mib_s", "", _MIB),
}
"""Units of recorded values, by the text that stands in a declaration. 1 MB is 10^6 bytes."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One sampled value: everything that is known about it."""

    unit: str
    """A key of UNITS."""
    family: str
    """Name of its OpenMetrics family."""
    help: str
    """What it measures, in one or two sentences; shown by Prometheus and in Parquet's schema."""
    counter: bool = False
    """Whether it only grows, until a reboot or a new recording begins it anew."""
    seldom: bool = False
    """Whether it is read every few ticks alone, because reading it takes the driver long."""
    report: bool = False
    """Whether the report loads it for its findings: a gauge as it is, a counter as its rate."""
    plot: str = ""
    """Title of a plot of its own in the report; '': only where a finding names it."""
    whole: bool = False
    """Whether it is a whole number by its nature."""


def gauge(
    unit: str, family: str, help: str, *, seldom: bool = False, report: bool = False, plot: str = ""
) -> Any:
    """Return a dataclass field for a value that rises and falls."""
    report = report or bool(plot)
    return _declared(Metric(unit, family, help, seldom=seldom, report=report, plot=plot))


def counter(
    unit: str, family: str, help: str, *, seldom: bool = False, report: bool = False
) -> Any:
    """Return a dataclass field for a value that only grows."""
    return _declared(Metric(unit, family, help, counter=True, seldom=seldom, report=report))


def metrics_of(kind: type[Any]) -> dict[str, Metric]:
    """Return what is declared of the values of a dataclass, by their names, in their order."""
    return {f.name: _with_type(f) for f in fields(kind) if _KEY in f.metadata}


def _declared(metric: Metric) -> Any:
    return field(default=None, metadata={_KEY: metric})


def _with_type(declared: Field[Any]) -> Metric:
    metric: Metric = declared.metadata[_KEY]
    return replace(metric, whole=declared.type in ("int | None", int | None))
