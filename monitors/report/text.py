"""The report as plain text for a terminal. `-` and "unknown" mean just that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from monitors.analysis.finding import Finding
from monitors.analysis.summary import GpuSummary, NodeSummary, Report, Stat
from monitors.report.layout import cell, counted, fold, gib, printable, row, width, wrapped
from monitors.report.overview import MANY, render_overview, silent_gpus

_NAME, _LEAST_NAME = 22, 8
_FIGURES = 58
"""Columns of a line of the table of GPUs without the name."""
_NOTES = 10
"""Notes shown of each node; a GPU that fails every other second leaves thousands."""


def render_text(report: Report, all_gpus: bool = False) -> str:
    """Return the whole report, without a line end at its end.

    Of more GPUs than MANY, only the worst, the median and the best unless `all_gpus`.
    """
    if not all_gpus and max(report.gpu_count, len(report.nodes)) > MANY:
        return f"{_head(report)}\n\n{render_overview(report)}"
    return "\n\n".join([_head(report), *(_node(node) for node in report.nodes)])


def render_findings(verdict: str, findings: Sequence[Finding]) -> str:
    """Return the verdict, then each finding with its evidence, cause and fix."""
    blocks = ["\n".join(fold(verdict))]
    for number, found in enumerate(findings, start=1):
        rows = [("evidence", found.evidence), ("cause", found.cause), ("fix", found.fix)]
        head = fold(found.headline, first=f"{number}. ", later="   ")
        blocks.append("\n".join([*head, *(row(label, text) for label, text in rows)]))
    return "\n\n".join(blocks)


def _head(report: Report) -> str:
    if not report.nodes:
        return "\n".join(("No record to report on.", *wrapped(report.problems)))
    seconds = [node.duration_s for node in report.nodes if node.duration_s is not None]
    first = min((node.began for node in report.nodes if node.began), default=None, key=_moment)
    longest = duration(max(seconds, default=None))
    began = f", from {_when(first)}" if first else ""
    counts = f"{counted(len(report.nodes), 'node')}, {counted(report.gpu_count, 'GPU')}"
    lines = [f"{counts}, {longest}{began}", *report.problems]
    if len(report.nodes) > 1 and all(node.clock_ahead_s is None for node in report.nodes):
        lines.append("How far the nodes' clocks are apart is unknown.")
    return "\n".join(wrapped(lines))


def _node(node: NodeSummary) -> str:
    name = f"{node.node} ({node.role})" if node.role else node.node
    lines = [*wrapped([name]), *_quality(node), _cpu(node), _memory(node)]
    for label, rx, tx in (
        ("network", node.net_rx_mb_s, node.net_tx_mb_s),
        ("infiniband", node.ib_rx_mb_s, node.ib_tx_mb_s),
    ):
        if label == "network" or rx.count or tx.count:
            lines.append(row(label, f"in {_spread(rx, 'MB/s')}; out {_spread(tx, 'MB/s')}"))
    if node.gpus:
        lines += _gpus(node.gpus)
        lines += [row("changed", text) for text in node.changes]
        lines += [row("note", text) for text in silent_gpus(node)]
    elif node.gpu_problem:
        lines.append(row("GPUs", f"not sampled: {node.gpu_problem}"))
    lines += [row("note", note) for note in node.notes[:_NOTES]]
    if len(node.notes) > _NOTES:
        lines.append(row("", f"and {counted(len(node.notes) - _NOTES, 'more note')}"))
    lines += [row("problem", problem) for problem in node.problems]
    return "\n".join(lines)


def _quality(node: NodeSummary) -> list[str]:
    parts = [counted(node.samples, "sample"), f"{_or_unknown(node.missed)} missed"]
    if node.gpu_missed:
        parts.append(f"{node.gpu_missed} without GPUs")
    if node.lost_writes:
        parts.append(f"{counted(node.lost_writes, 'write')} lost")
    if node.starts and node.starts > 1:
        parts.append(f"{node.starts} attempts")
    parts.append(duration(node.duration_s))
    end = _end(node.end_reason) if node.end_reason else "no end: killed, or still running"
    end = "end unknown" if node.starts is None else end
    cpu = "unknown" if node.own_cpu_pct is None else f"{node.own_cpu_pct:.2f} % of a core"
    memory = "unknown" if node.own_max_rss_mib is None else f"{node.own_max_rss_mib:.0f} MiB"
    return [
        row("record", ", ".join(parts)),
        row("", f"last sample {_when(node.last)}; {end}"),
        *(row("clock", text) for text in (clock(node),) if text),
        row("sidecar", f"CPU {cpu}, memory {memory}"),
    ]


def clock(node: NodeSummary) -> str | None:
    """Return how far a node's clock is off; None where that was not measured."""
    ahead, within = node.clock_ahead_s, node.clock_within_s
    if ahead is None or within is None:
        return None
    if abs(ahead) <= within:
        return f"within {within:.3f} s of the first rank's"
    side = "ahead of" if ahead > 0 else "behind"
    return f"{abs(ahead):.3f} s {side} the first rank's; corrected in findings and plots"


def _end(reason: str) -> str:
    """The usual end is a signal, as the job's script sends it; which one is in the record."""
    return "ended in order" if reason.startswith("SIG") else f"ended: {reason}"


def _cpu(node: NodeSummary) -> str:
    iowait = node.cpu_iowait_pct
    return row("cpu", f"{_spread(node.cpu_busy_pct, '%')}; I/O wait {_spread(iowait, '%')}")


def _memory(node: NodeSummary) -> str:
    used, job = node.mem_used_mib, node.cgroup_mem_mib
    text = f"{_spread(used, 'GiB', 1024)} of {gib(node.mem_total_mib)} GiB"
    if job.count:
        limit = node.cgroup_limit_mib
        text += f"; job peak {gib(job.peak)}"
        text += " GiB" if limit is None else f" of {gib(limit)} GiB"
    return row("memory", text)


def _gpus(gpus: tuple[GpuSummary, ...]) -> list[str]:
    names = [printable(gpu.name or gpu.uuid or "unknown") for gpu in gpus]
    if width() < _FIGURES + _LEAST_NAME:
        lines = [line for gpu, name in zip(gpus, names, strict=True) for line in _narrow(gpu, name)]
        return lines + _links(gpus)
    room = min(max(_NAME, *map(len, names)), width() - _FIGURES)
    pad = " " * (6 + room)
    lines = [
        f"  GPU{pad[5:]}     util %       power W     memory GiB     temp C",
        f"{pad}  mean  peak   mean  peak    peak  total  mean  peak",
    ]
    for gpu, name in zip(gpus, names, strict=True):
        cells = (
            f"{cell(gpu.sm_pct.mean):>6}{cell(gpu.sm_pct.peak):>6}",
            f"{cell(gpu.power_w.mean):>7}{cell(gpu.power_w.peak):>6}",
            f"{gib(gpu.memory_used_mib.peak):>8}{gib(gpu.memory_total_mib):>7}",
            f"{cell(gpu.temperature_c.mean):>6}{cell(gpu.temperature_c.peak):>6}",
        )
        lines.append(f"  {gpu.index:>3} {name[:room]:<{room}}{''.join(cells)}")
    return lines + _links(gpus)


def _narrow(gpu: GpuSummary, name: str) -> list[str]:
    """One GPU on a terminal that is too narrow for the table."""
    text = (
        f"{name}; util {cell(gpu.sm_pct.mean)}, peak {cell(gpu.sm_pct.peak)} %; "
        f"power {cell(gpu.power_w.mean)}, peak {cell(gpu.power_w.peak)} W; memory peak "
        f"{gib(gpu.memory_used_mib.peak)} of {gib(gpu.memory_total_mib)} GiB; temp "
        f"{cell(gpu.temperature_c.mean)}, peak {cell(gpu.temperature_c.peak)} C"
    )
    return [row(f"GPU {gpu.index}", text)]


def _links(gpus: tuple[GpuSummary, ...]) -> list[str]:
    """Tensor cores and NVLink of all GPUs of a node together, where they are known."""
    lines = []
    active = [gpu.tensor_active_pct.mean for gpu in gpus]
    if known := [mean for mean in active if mean is not None]:
        spread = f" active {sum(known) / len(known):.0f} % of the time on average"
        if len(known) > 1:
            spread += f", by GPU {min(known):.0f} to {max(known):.0f} %"
        lines.append(row("tensor cores", spread))
    for label, stats in (
        ("NVLink in", [gpu.nvlink_rx_mb_s for gpu in gpus]),
        ("NVLink out", [gpu.nvlink_tx_mb_s for gpu in gpus]),
    ):
        means = [stat.mean for stat in stats if stat.mean is not None]
        peaks = [stat.peak for stat in stats if stat.peak is not None]
        if means and peaks:
            mean = sum(means) / len(means)
            lines.append(row(label, f"a GPU mean {mean:,.0f}, peak {max(peaks):,.0f} MB/s"))
    return lines


def _spread(stat: Stat, unit: str, divisor: float = 1) -> str:
    if stat.mean is None or stat.peak is None:
        return "unknown"
    return f"mean {stat.mean / divisor:.1f}, peak {stat.peak / divisor:.1f} {unit}"


def _moment(iso: str) -> tuple[int, str]:
    """For putting times of several zones in order; those without a zone come last."""
    try:
        moment = datetime.fromisoformat(iso)
        return (1, iso) if moment.tzinfo is None else (0, moment.astimezone(UTC).isoformat())
    except (ValueError, OverflowError):
        return (1, iso)


def _or_unknown(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _when(iso: str | None) -> str:
    return "unknown" if iso is None else iso.replace("T", " ", 1)


def duration(seconds: float | None) -> str:
    """Return a length of time as text: `1 h 05 min`, `40 s`."""
    if seconds is None:
        return "duration unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
