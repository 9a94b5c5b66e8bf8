"""OpenMetrics: the family of every sampled value, and how a sample is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from monitors.samples.fields import GPU_METRICS, HOST_METRICS
from monitors.samples.metric import UNITS, Metric

END = "# EOF\n"
CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
Labels = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name, and what it tells."""

    name: str
    help: str
    unit: str = ""
    """By the rules of the format the name ends with it."""
    factor: float = 1
    """What a recorded value is multiplied by to be in that unit."""
    kind: Literal["gauge", "counter", "info", "stateset"] = "gauge"

    @property
    def sample_name(self) -> str:
        """What its samples are called."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")

    def head(self) -> str:
        """The lines that go before its samples."""
        unit = f"# UNIT {self.name} {self.unit}\n" if self.unit else ""
        return f"# TYPE {self.name} {self.kind}\n{unit}# HELP {self.name} {_escaped(self.help)}\n"

    def takes(self, value: float) -> bool:
        """Whether a value may be written: readers refuse a whole page for a counter below 0."""
        return self.kind != "counter" or value >= 0

    def scaled(self, value: float) -> float:
        """A recorded value in the family's unit."""
        return value if self.factor == 1 else round(value * self.factor, 6)

    def sample(self, pairs: Labels, value: float) -> str:
        """One line: a recorded value in the family's unit, without a time."""
        return f"{self.sample_name}{labels(pairs)} {self.scaled(value)!r}\n"


def labels(pairs: Labels) -> str:
    """Labels as they stand behind a name; nothing where there are none."""
    shown = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
    return f"{{{shown}}}" if shown else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _family(metric: Metric) -> Family:
    unit = UNITS[metric.unit]
    kind: Literal["gauge", "counter"] = "counter" if metric.counter else "gauge"
    return Family(metric.family, metric.help, unit.base, unit.factor, kind)


FAMILIES = {name: _family(metric) for name, metric in (GPU_METRICS | HOST_METRICS).items()}
"""The family of each sampled value, by the name of its field in GpuSample or HostSample."""
