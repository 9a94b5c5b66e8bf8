"""What findings are judged on: all nodes on one axis, the marks, and the time under training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitors.analysis.events import Events
from monitors.analysis.summary import Report
from monitors.analysis.timeline import Band, GpuLine, NodeLine, Timeline

LEAST_SAMPLES = 10
"""No verdict on fewer samples."""
_WARM_UP = 0.02
_BUSY_PCT = 5


@dataclass(frozen=True)
class Evidence:
    """Everything a rule may look at."""

    timeline: Timeline
    report: Report
    marks: Events = field(default_factory=Events)
    changes: Mapping[str, str] = field(default_factory=dict)
    """Exact changes by the key of a finding, in the words of the caller's own settings."""
    transport: str | None = None
    """How the collectives travelled, where the job's log says it: `Socket`, `IB`."""

    def change(self, key: str, otherwise: str) -> str:
        """What to do about a finding."""
        return self.changes.get(key, otherwise)

    @cached_property
    def training(self) -> NDArray[np.bool_]:
        """Cells wholly under training: from the first step to the last, without checkpoints.

        Without marks: from the first to the last cell in which any GPU, or else any node, worked.
        """
        edges = self.timeline.edges
        span = self.marks.training
        if span is None:
            return self._worked()
        inside = (edges[:-1] >= span[0]) & (edges[1:] <= span[1])
        if not inside.any():  # a run shorter than a cell
            inside = (edges[1:] > span[0]) & (edges[:-1] < span[1])
        without = inside.copy()
        for other in self.marks.spans:
            without &= ~((edges[1:] > other.begin) & (edges[:-1] < other.end))
        return without if without.any() else inside

    @cached_property
    def saving(self) -> float:
        """Share of the cells under training that was spent on checkpoints and the like after all.

        0 wherever such cells could be left out: not where they come every few seconds.
        """
        if self.marks.training is None or not self.seconds:
            return 0.0
        edges = self.timeline.edges
        begins, ends = edges[:-1][self.training], edges[1:][self.training]
        spent = sum(
            np.clip(np.minimum(ends, span.end) - np.maximum(begins, span.begin), 0, None).sum()
            for span in self.marks.spans
        )
        return min(1.0, float(spent) / self.seconds)

    def _worked(self) -> NDArray[np.bool_]:
        lines: list[Band] = [
            gpu.bands["sm_pct"] for _, gpu in self.timeline.gpus if "sm_pct" in gpu.bands
        ]
        if not lines:
            nodes = self.timeline.nodes
            lines = [n.bands["cpu_busy_pct"] for n in nodes if "cpu_busy_pct" in n.bands]
        busy = np.zeros(self.timeline.cells, dtype=bool)
        for band in lines:
            busy |= np.nan_to_num(band.mean) > _BUSY_PCT
        at = np.flatnonzero(busy)
        found = np.zeros(self.timeline.cells, dtype=bool)
        if len(at):
            found[at[0] : at[-1] + 1] = True
        return found

    @cached_property
    def seconds(self) -> float:
        """Length of the time under training."""
        return float(self.training.sum()) * self.timeline.step_s

    @cached_property
    def enough(self) -> bool:
        """Whether there are enough samples for a verdict."""
        return max((node.samples for node in self.report.nodes), default=0) >= LEAST_SAMPLES

    def mean(self, bands: Mapping[str, Band], name: str) -> float | None:
        """Mean of a value over the training; None where it is not known in a tenth of it."""
        values = self.during(bands, name)
        return None if values is None else float(np.nanmean(values))

    def during(self, bands: Mapping[str, Band], name: str) -> NDArray[np.float32] | None:
        """Means of a value cell by cell of the training; None where hardly any is known."""
        band = bands.get(name)
        if band is None or not self.training.any():
            return None
        values = band.mean[self.training]
        return values if np.mean(~np.isnan(values)) >= 0.1 else None

    @cached_property
    def gpus(self) -> dict[str, GpuLine]:
        """Every GPU by what it is called: `n3 GPU 2`."""
        found: dict[str, GpuLine] = {}
        for node, gpu in self.timeline.gpus:
            name = f"{node.node} GPU {gpu.info.index}"
            if name in found:  # after a requeue, another card under the same number
                name = f"{name} ({gpu.info.uuid or 'other'})"
            found[name] = gpu
        return found

    @cached_property
    def nodes(self) -> dict[str, NodeLine]:
        """Every node by its name."""
        return {node.node: node for node in self.timeline.nodes}

    def each_gpu(self, value: str) -> dict[str, float]:
        """Mean over the training of every GPU for which it is known."""
        return self._known(self.gpus, value)

    def each_node(self, value: str) -> dict[str, float]:
        """Mean over the training of every node for which it is known."""
        return self._known(self.nodes, value)

    def shares_of_nodes(self, value: str) -> dict[str, float]:
        """The same of a value in percent, as shares from 0 to 1."""
        return {name: mean / 100 for name, mean in self.each_node(value).items()}

    @cached_property
    def waited_for_data(self) -> float:
        """Share of the steps that waited for their batches; 0 where the program tells none."""
        told = [step for step in self.marks.steps if step.waited is not None]
        whole = sum(step.seconds for step in told)
        return sum(min(step.waited or 0.0, step.seconds) for step in told) / whole if whole else 0.0

    def _known(self, lines: Mapping[str, GpuLine | NodeLine], value: str) -> dict[str, float]:
        means = {name: self.mean(line.bands, value) for name, line in lines.items()}
        return {name: mean for name, mean in means.items() if mean is not None}
