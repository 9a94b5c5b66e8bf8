"""What held a job back: a small function for each finding, and their order."""

from __future__ import annotations

from collections.abc import Callable

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings import errors, host, memory, peers, ranks, waits

MOST = 5
NOTHING = "Nothing stands out."
TOO_FEW_SAMPLES = "Too few samples for a verdict."
_CAUSES = ("thermal", "power")
_LEAST_SHARE = 0.03
"""Share of the training that a finding has to cost to be listed, where its cost is known."""


def _slow_node(evidence: Evidence) -> Finding | None:
    """One node that is named once, by its CPU limit or else by what its ranks did."""
    return peers.slow_node(evidence) or ranks.slow_ranks(evidence)


RULES: tuple[Callable[[Evidence], Finding | None], ...] = (
    errors.device_errors,
    errors.lost_gpus,
    errors.program_faults,
    host.out_of_memory,
    host.swapping,
    memory.nearly_full,
    peers.slow_gpu,
    _slow_node,
    peers.too_hot,
    peers.held_by_power,
    peers.unused_gpus,
    waits.data,
    waits.communication,
    ranks.waiting_ranks,
    waits.checkpoints,
    host.few_cores,
    host.full_cores,
    waits.sockets,
    waits.idle,
    memory.headroom,
)


def apply_rules(evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings that matter, `MOST` at most: critical ones first, then by their cost."""
    if not evidence.enough:
        return ()
    found = [finding for rule in RULES if (finding := rule(evidence)) is not None]
    worth = [f for f in found if f.critical or f.lost_share is None or f.lost_share >= _LEAST_SHARE]
    # Idle GPUs are what most others look like from outside: alone it says something new.
    if any(f.lost_share for f in worth if f.key != "idle"):
        worth = [f for f in worth if f.key != "idle"]
    worth.sort(key=lambda f: (not f.critical, -(f.lost_share or 0.0)))
    slow = {name for f in worth if f.key == "slow-peer" for name in f.where}
    # Why a slow GPU is slow is part of its own finding.
    worth = [f for f in worth if f.key not in _CAUSES or not slow.issuperset(f.where)]
    return tuple(worth[:MOST])


def verdict(evidence: Evidence | None, findings: tuple[Finding, ...]) -> str:
    """Return one sentence: what held the job back."""
    if evidence is None or not evidence.enough:
        return TOO_FEW_SAMPLES
    first = next((f for f in findings if f.critical or f.lost_share is not None), None)
    return first.headline if first else NOTHING
