"""What of a node's GPUs changed within the training, for the figures that are means otherwise."""

from __future__ import annotations

from monitors.analysis.evidence import Evidence
from monitors.analysis.findings.phrases import levels

_VALUES = (
    ("sm_pct", "utilization", "%"),
    ("sm_clock_mhz", "SM clock", " MHz"),
    ("memory_clock_mhz", "memory clock", " MHz"),
)


def changed_values(evidence: Evidence) -> dict[str, tuple[str, ...]]:
    """Return by node a sentence for each value that changed: which GPUs, when, both levels."""
    found: dict[str, dict[str, list[str]]] = {}
    for column, label, unit in _VALUES:
        for name, change in evidence.changes(column).items():
            node, _, gpu = name.rpartition(" GPU ")
            text = f"{label} {levels(evidence, change, unit)}"
            found.setdefault(node, {}).setdefault(text, []).append(gpu)
    return {
        node: tuple(f"GPU {', '.join(gpus)}: {text}" for text, gpus in texts.items())
        for node, texts in found.items()
    }
