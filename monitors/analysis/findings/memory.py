"""Findings on the GPUs' memory."""

from __future__ import annotations

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings.phrases import gib, percent, several

_FULL = 0.97
_ROOMY = 0.60
_IN_USE = 0.05
"""Shares of a GPU's memory."""


def nearly_full(evidence: Evidence) -> Finding | None:
    """A GPU's memory was nearly full: the next longer batch may not fit."""
    shares = _shares(evidence)
    full = sorted(name for name, (share, _, _) in shares.items() if share >= _FULL)
    if not full:
        return None
    worst = max(full, key=lambda name: shares[name][0])
    share, used, total = shares[worst]
    return Finding(
        "gpu-memory",
        f"The memory of {several(full)} was nearly full.",
        f"{worst} held up to {gib(used)} of {gib(total)} ({percent(share)}).",
        "Little is left for a longer batch or for fragments.",
        evidence.fix("gpu-memory", "Fewer tokens in a micro-batch, or more sharding."),
        hint=True,
        where=tuple(full),
        columns=("memory_used_mib",),
    )


def headroom(evidence: Evidence) -> Finding | None:
    """All GPUs had memory to spare all the time."""
    if not evidence.events.steps:
        return None
    used = {n: found for n, found in _shares(evidence).items() if found[0] >= _IN_USE}
    if not used:
        return None
    worst = max(used, key=lambda name: used[name][0])
    share, peak, total = used[worst]
    if share > _ROOMY:
        return None
    return Finding(
        "gpu-room",
        f"The GPUs' memory was never more than {percent(share)} used.",
        f"{worst} held the most, {gib(peak)} of {gib(total)}: "
        f"{gib(total * _FULL - peak)} to spare.",
        "Micro-batches could be larger, which hides communication and uses the GPU better.",
        evidence.fix("gpu-room", "More tokens in a micro-batch; fewer accumulation steps."),
        hint=True,
        columns=("memory_used_mib",),
    )


def _shares(evidence: Evidence) -> dict[str, tuple[float, float, float]]:
    found = {}
    for name, gpu in evidence.gpus.items():
        peak, total = evidence.peak(gpu, "memory_used_mib"), gpu.info.memory_total_mib
        if peak is not None and total and total > 0:
            found[name] = (peak / total, peak, total)
    return found
