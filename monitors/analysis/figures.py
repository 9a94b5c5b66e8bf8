"""A job's totals: GPU-hours, energy, tokens, throughput, MFU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitors.analysis.events import Events
from monitors.analysis.summary import GpuSummary, NodeSummary, Report

_JOULES_A_KWH = 3.6e6
Peak = Callable[[str | None], float | None]
"""From a GPU's name to its bf16 FLOP/s; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Figures:
    """`None` is unknown."""

    gpu_hours: float | None = None
    energy_kwh: float | None = None
    """Of all GPUs together; None where it is not known of one of them."""
    energy_counted: bool = False
    """By the GPUs' own counters, not from samples of their power."""
    tokens: float | None = None
    tokens_per_second: float | None = None
    """Over the steps alone, without those that were a warm-up."""
    tokens_per_second_per_gpu: float | None = None
    """Of the GPUs that trained; so is MFU. GPU-hours and energy are those of all."""
    warm_up_left_out: bool = False
    """Whether a first step was left out of throughput and MFU (see `Events.warm_up`)."""
    mfu: float | None = None
    """Model FLOPs utilization during the steps: share of the GPUs' bf16 peak, 0 to 1."""


def figures(report: Report, events: Events, flops: float | None, peak: Peak | None) -> Figures:
    """Add a report's nodes and the steps up.

    `flops` are those that a token takes, `peak` returns a GPU's FLOP/s by its name.
    """
    pairs = [(node, gpu) for node in report.nodes for gpu in node.gpus]
    spans = [node.duration_s for node, _ in pairs]
    hours = sum(s for s in spans if s is not None) / 3600 if pairs and None not in spans else None
    energies = [_joules(node, gpu) for node, gpu in pairs]
    whole = sum(j for j in energies if j is not None) if pairs and None not in energies else None
    trained = [gpu for node, gpu in pairs if not node.role]
    steps = [step for step in events.steps if step.tokens is not None]
    tokens = sum(step.tokens or 0.0 for step in steps) if steps else None
    warm_up = {span.end for span in events.warm_up}
    timed = [step for step in steps if step.end not in warm_up]
    seconds = sum(step.seconds for step in timed)
    rate = sum(step.tokens or 0.0 for step in timed) / seconds if seconds > 0 else None
    return Figures(
        gpu_hours=hours,
        energy_kwh=None if whole is None else whole / _JOULES_A_KWH,
        energy_counted=bool(pairs) and all(gpu.energy_j is not None for _, gpu in pairs),
        tokens=tokens,
        tokens_per_second=rate,
        tokens_per_second_per_gpu=rate / len(trained) if rate is not None and trained else None,
        warm_up_left_out=len(timed) < len(steps),
        mfu=_share(rate, flops, [gpu.name for gpu in trained], peak),
    )


def _share(
    rate: float | None, flops: float | None, names: Sequence[str | None], peak: Peak | None
) -> float | None:
    if rate is None or flops is None or peak is None or not names:
        return None
    peaks = [peak(name) for name in names]
    whole = sum(each for each in peaks if each is not None)
    return None if None in peaks or not whole else rate * flops / whole


def _joules(node: NodeSummary, gpu: GpuSummary) -> float | None:
    if gpu.energy_j is not None:
        return gpu.energy_j
    if gpu.power_w.mean is None or node.duration_s is None:
        return None
    return gpu.power_w.mean * node.duration_s


def rows(found: Figures) -> list[tuple[str, str]]:
    """Return the known figures as labels and texts."""
    lines = []
    if found.gpu_hours is not None:
        lines.append(("GPU-hours", f"{found.gpu_hours:,.2f}"))
    if found.energy_kwh is not None:
        how = "by the GPUs' own counters" if found.energy_counted else "from power samples"
        lines.append(("energy", f"{found.energy_kwh:,.3f} kWh, GPUs alone, {how}"))
    if found.tokens is not None:
        lines.append(("tokens", f"{found.tokens:,.0f}"))
    if found.tokens_per_second is not None:
        text = f"{found.tokens_per_second:,.0f} tokens/s in all"
        if found.tokens_per_second_per_gpu is not None:
            text += f", {found.tokens_per_second_per_gpu:,.0f} a GPU"
        steps = "all steps but the first (warm-up)" if found.warm_up_left_out else "all steps"
        lines.append(("throughput", f"{text}, {steps}"))
    if found.mfu is not None:
        lines.append(("MFU", f"{found.mfu:.0%} of the bf16 peak"))
    return lines
