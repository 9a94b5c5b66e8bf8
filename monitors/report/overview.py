"""Many nodes and GPUs in few lines: the worst, the median and the best of each value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from monitors.analysis.summary import GpuSummary, NodeSummary, Report
from monitors.report.layout import cell, counted, printable, row, width, wrapped

MANY = 16
"""More GPUs than that, or more nodes than that, are shown in this way."""
_NOTES = 10
_MIB_A_GIB = 1024
_LABEL, _VALUE, _NAME = 22, 7, 20
_TABLE = 80
"""Columns that the tables need; on a narrower terminal their lines are folded."""
_Value = Callable[[GpuSummary], float | None]


@dataclass(frozen=True)
class _Line:
    label: str
    value: Callable[[GpuSummary, NodeSummary], float | None]
    worst_is_high: bool = False


def _mib(value: float | None) -> float | None:
    return None if value is None else value / _MIB_A_GIB


_GPU_LINES = (
    _Line("utilization, %", lambda gpu, _: gpu.sm_pct.mean),
    _Line("SM activity, %", lambda gpu, _: gpu.sm_active_pct.mean),
    _Line("power, W", lambda gpu, _: gpu.power_w.mean),
    _Line("SM clock, MHz", lambda gpu, _: gpu.sm_clock_mhz.mean),
    _Line("peak temperature, C", lambda gpu, _: gpu.temperature_c.peak, True),
    _Line("peak memory, GiB", lambda gpu, _: _mib(gpu.memory_used_mib.peak), True),
)
_NODE_LINES: tuple[tuple[str, Callable[[NodeSummary], float | None], bool], ...] = (
    ("CPU busy, %", lambda node: node.cpu_busy_pct.mean, True),
    ("I/O wait, %", lambda node: node.cpu_iowait_pct.mean, True),
    ("peak memory, GiB", lambda node: _mib(node.mem_used_mib.peak), True),
    ("missed samples", lambda node: node.missed, True),
)


def render_overview(report: Report) -> str:
    """Return the tables of GPUs and of nodes, then every note and problem with its node."""
    blocks = []
    nodes = [node for node in report.nodes if not node.role] or report.nodes
    gpus = [(f"{node.node} GPU {gpu.index}", gpu, node) for node in nodes for gpu in node.gpus]
    if gpus:
        rows = [
            _row(
                line.label,
                [(name, line.value(gpu, node)) for name, gpu, node in gpus],
                line.worst_is_high,
            )
            for line in _GPU_LINES
        ]
        blocks.append([_head(counted(len(gpus), "GPU")), *filter(None, rows)])
    rows = [
        _row(label, [(node.node, value(node)) for node in nodes], high)
        for label, value, high in _NODE_LINES
    ]
    blocks.append([_head(counted(len(nodes), "node")), *filter(None, rows)])
    others = [f"{node.node}: {node.role}" for node in report.nodes if node not in nodes]
    if others:
        blocks.append(wrapped([f"Not among these, for they trained nothing: {'; '.join(others)}"]))
    notes = list(_notes_of_nodes(report))
    if notes:
        blocks.append(notes)
    blocks.append(wrapped(["Means over the whole record. Each node and GPU: --all-gpus"]))
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _head(what: str) -> str:
    if width() < _TABLE:
        return what
    text = f"{what:<{_LABEL}}{'worst':>{_VALUE}}{'':<{_NAME + 2}}"
    return f"{text}{'median':>{_VALUE}}{'best':>{_VALUE}}"


def _row(label: str, values: Sequence[tuple[str, float | None]], worst_is_high: bool) -> str | None:
    known = sorted(
        ((value, name) for name, value in values if value is not None), reverse=worst_is_high
    )
    if not known:
        return None
    (worst, where), (best, holder) = known[0], known[-1]
    middle = known[len(known) // 2][0]
    if worst == best:
        where = holder = ""  # none stands out
    if width() < _TABLE:
        names = [f" ({printable(name)})" if name else "" for name in (where, holder)]
        text = f"worst {cell(worst)}{names[0]}, median {cell(middle)}, best {cell(best)}{names[1]}"
        return row(f"{label}:", text)
    text = f"  {label:<{_LABEL - 2}}{cell(worst):>{_VALUE}}  {_short(where, _NAME)}"
    text += f"{cell(middle):>{_VALUE}}{cell(best):>{_VALUE}}  "
    return (text + _short(holder, width() - len(text))).rstrip()


def _short(name: str, width: int) -> str:
    """A name in a column: of a long one the end, which has the numbers."""
    plain = printable(name)
    return f"{plain if len(plain) <= width else '~' + plain[1 - width :]:<{width}}"


def silent_gpus(node: NodeSummary) -> list[str]:
    """Return a sentence for each GPU of a node that did not answer in all samples."""
    whole = node.samples
    if node.starts is None:  # another tool's table of GPUs: that of the node has its own length
        whole = max((gpu.samples for gpu in node.gpus), default=0)
    return [
        f"GPU {gpu.index} answered in {gpu.samples} of {whole} samples"
        for gpu in node.gpus
        if gpu.samples < whole
    ]


def _notes_of_nodes(report: Report) -> Iterator[str]:
    """Notes and problems of single nodes, a line each."""
    for node in report.nodes:
        texts = silent_gpus(node)
        texts += node.notes[:_NOTES]
        if len(node.notes) > _NOTES:
            texts.append(f"and {counted(len(node.notes) - _NOTES, 'more note')}")
        if node.gpu_problem and not node.gpus:
            texts.append(f"no GPU sampled: {node.gpu_problem}")
        for text in (*texts, *node.problems):
            yield row("", f"{node.node}: {text}")
