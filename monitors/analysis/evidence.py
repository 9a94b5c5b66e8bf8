"""What rules find things in: all nodes on one time axis, the events, the time under training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitors.analysis.columns import GPU_LOADED, HOST_LOADED
from monitors.analysis.events import Events, Step
from monitors.analysis.levels import LevelChange, level_change
from monitors.analysis.summary import Report
from monitors.analysis.timeline import Band, GpuLine, NodeLine, Timeline

LEAST_SAMPLES = 10
"""No verdict on fewer samples."""
_BUSY_PCT = 5
_IN_USE_PCT = 20
"""A GPU that is used less than this lowers its clocks because it has little to do."""
_CHANGE, _USE_CHANGE = 0.15, 0.4
"""Least changes that count, the second of the utilization, as shares of the higher level."""


class UnknownColumn(LookupError):
    """A finding asks for a column that the report does not load; without this it is never true."""

    def __init__(self, column: str, what: str, loaded: Iterable[str]) -> None:
        super().__init__(
            f"no column {column!r} of a {what} is loaded; loaded are {', '.join(sorted(loaded))} "
            "(declare it with report=True in monitors/samples)"
        )


@dataclass(frozen=True)
class Evidence:
    """Everything a rule may look at."""

    timeline: Timeline
    report: Report
    events: Events = field(default_factory=Events)
    fixes: Mapping[str, str] = field(default_factory=dict)
    """Exact fixes by the key of a finding, in terms of the caller's own settings."""
    transport: str | None = None
    """Network that NCCL uses according to its log: `Socket`, `IB`; None where unknown."""
    others: tuple[NodeLine, ...] = ()
    """Nodes that trained nothing: no peers of those on the axis."""

    def fix(self, key: str, otherwise: str, nodes: Sequence[str] = ()) -> str:
        """Return what to do about a finding: the caller's fix, or else `otherwise`.

        `nodes`: those it is about, which a caller's fix may name as `{nodes}`; a fix that names
        them does not hold where none is known.
        """
        fix = self.fixes.get(key, otherwise)
        if "{nodes}" in fix and not any(nodes):
            return otherwise
        return fix.replace("{nodes}", ",".join(filter(None, nodes)))

    @cached_property
    def training(self) -> NDArray[np.bool_]:
        """Cells wholly under training: from the first step to the last, without checkpoints.

        An attempt's first step is left out where it was a warm-up (see `Events.warm_up`).
        Without events: from the first to the last cell in which any GPU, or else any node, worked.
        """
        edges = self.timeline.edges
        span = self.events.training
        if span is None:
            return self._worked()
        inside = (edges[:-1] >= span[0]) & (edges[1:] <= span[1])
        if not inside.any():  # a run shorter than a cell
            inside = (edges[1:] > span[0]) & (edges[:-1] < span[1])
        without = inside.copy()
        for other in (*self.events.spans, *self.events.warm_up):
            without &= ~((edges[1:] > other.begin) & (edges[:-1] < other.end))
        return without if without.any() else inside

    @cached_property
    def saving(self) -> float:
        """Share of the cells under training that was spent on checkpoints and the like after all.

        0 wherever such cells could be left out: not where they come every few seconds.
        """
        if self.events.training is None or not self.seconds:
            return 0.0
        edges = self.timeline.edges
        begins, ends = edges[:-1][self.training], edges[1:][self.training]
        spent = sum(
            np.clip(np.minimum(ends, span.end) - np.maximum(begins, span.begin), 0, None).sum()
            for span in self.events.spans
        )
        return min(1.0, float(spent) / self.seconds)

    def _worked(self) -> NDArray[np.bool_]:
        lines: list[Band] = [
            gpu.bands["sm_pct"] for _, gpu in self.timeline.gpus if "sm_pct" in gpu.bands
        ]
        if not lines:
            columns = ("cpu_busy_pct", "cpu_iowait_pct")
            lines = [n.bands[c] for n in self.timeline.nodes for c in columns if c in n.bands]
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

    def during(self, line: GpuLine | NodeLine, column: str) -> NDArray[np.float32] | None:
        """Means of a column cell by cell of the training; None where under a tenth is known.

        Raises UnknownColumn where no such column is loaded.
        """
        band = _band(line, column)
        if band is None or not self.training.any():
            return None
        values = band.mean[self.training]
        return values if np.mean(~np.isnan(values)) >= 0.1 else None

    def changes(self, column: str) -> dict[str, LevelChange]:
        """Return the changes of a column during the training, by GPU.

        Only while a GPU was in use, unless it is the utilization that is asked for. Raises
        UnknownColumn where no such column of GPUs is loaded.
        """
        if column not in self._changes:
            self._changes[column] = self._find_changes(column)
        return self._changes[column]

    @cached_property
    def _changes(self) -> dict[str, dict[str, LevelChange]]:
        return {}

    def _find_changes(self, column: str) -> dict[str, LevelChange]:
        least = _USE_CHANGE if column == "sm_pct" else _CHANGE
        ends = self.timeline.edges[1:][self.training]
        found = {}
        for name, gpu in self.gpus.items():
            values, use = self.during(gpu, column), self.during(gpu, "sm_pct")
            if values is None:
                continue
            if use is not None and column != "sm_pct":
                values = np.where(use >= _IN_USE_PCT, values, np.nan)
            change = level_change(ends, values, least)
            if change is not None:
                found[name] = change
        return found

    def peak(self, line: GpuLine | NodeLine, column: str) -> float | None:
        """Highest value of a column in the whole record; None where none is known.

        Raises UnknownColumn where no such column is loaded.
        """
        band = _band(line, column)
        if band is None or not np.isfinite(band.high).any():
            return None
        return float(np.nanmax(band.high))

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

    def each_gpu(self, column: str) -> dict[str, float]:
        """Mean of a column over the training, by GPU, where it is known.

        Raises UnknownColumn where no such column of GPUs is loaded.
        """
        if column not in GPU_LOADED:
            raise UnknownColumn(column, "GPU", GPU_LOADED)
        return self._means(self.gpus, column)

    def each_node(self, column: str) -> dict[str, float]:
        """Mean of a column over the training, by node, where it is known.

        Raises UnknownColumn where no such column of nodes is loaded.
        """
        if column not in HOST_LOADED:
            raise UnknownColumn(column, "node", HOST_LOADED)
        return self._means(self.nodes, column)

    def shares_of_nodes(self, column: str) -> dict[str, float]:
        """Mean of a column in percent over the training, by node, as a share from 0 to 1."""
        return {name: mean / 100 for name, mean in self.each_node(column).items()}

    @cached_property
    def waited_for_data(self) -> float:
        """Share of the steps' time spent waiting for batches; 0 where no step reports it."""
        timed = self.steps_with_data_wait
        whole = sum(step.seconds for step in timed)
        return sum(min(s.waited or 0.0, s.seconds) for s in timed) / whole if whole else 0.0

    @cached_property
    def steps_with_data_wait(self) -> list[Step]:
        """Steps whose wait for batches is known, without those that were a warm-up."""
        warm_up = {span.end for span in self.events.warm_up}
        return [s for s in self.events.steps if s.waited is not None and s.end not in warm_up]

    def _means(self, lines: Mapping[str, GpuLine | NodeLine], column: str) -> dict[str, float]:
        values = {name: self.during(line, column) for name, line in lines.items()}
        return {name: float(np.nanmean(v)) for name, v in values.items() if v is not None}


def _band(line: GpuLine | NodeLine, column: str) -> Band | None:
    what, loaded = ("GPU", GPU_LOADED) if isinstance(line, GpuLine) else ("node", HOST_LOADED)
    if column not in loaded:
        raise UnknownColumn(column, what, loaded)
    return line.bands.get(column)
