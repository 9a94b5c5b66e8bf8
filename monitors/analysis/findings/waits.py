"""Findings on what all GPUs waited for: data, each other, checkpoints, or nothing to do."""

from __future__ import annotations

from statistics import median, median_high, median_low

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings.phrases import (
    STILL_LINK_MB_S,
    clock_time,
    percent,
    sentence,
    traffic,
)

_WAITED = 0.05
_LOW = 0.10
"""Share of the training in which GPUs had next to nothing to do, for it to be reported."""
_BAD_USE, _POOR_USE = 15, 25
"""Percent of GPU utilization; the first is bad, the second worth a note."""
_SPINNING = 0.15
_SELDOM = 0.1
_CHECKPOINTS = 0.05
"""Shares of the training's time."""
_BUSY_LINK_MB_S = 50.0


def data(evidence: Evidence) -> Finding | None:
    """The steps waited for their batches.

    Their own clock counts, but no more than the GPUs were idle, where that is known: a batch that
    is fetched while they work costs nothing.
    """
    steps = evidence.steps_with_data_wait
    if not steps:
        return None
    share, waited = evidence.waited_for_data, sum(step.waited or 0.0 for step in steps)
    text = (
        f"{waited:.0f} s of {sum(s.seconds for s in steps):.0f} s of steps were waits for batches"
    )
    low = evidence.each_gpu("low")
    if low:
        idle = median(low.values())
        share = min(share, idle)
        text += f"; the GPUs were idle {percent(idle)} of the training"
    if share < _WAITED:
        return None
    busy = evidence.each_node("cpu_busy_pct")
    if busy:
        text += f"; CPUs {min(busy.values()):.0f} to {max(busy.values()):.0f}% busy"
    return Finding(
        "data",
        f"The GPUs waited for data {percent(share)} of the training."
        if low
        else f"The training waited for data {percent(share)} of its time.",
        text + ".",
        "Batches are made more slowly than they are used.",
        evidence.fix(
            "data", "Prepare (tokenize, pack) the data beforehand, or give the loader more workers."
        ),
        lost_share=share,
        columns=("sm_pct", "cpu_busy_pct"),
    )


def communication(evidence: Evidence) -> Finding | None:
    """All GPUs spin in collectives: always at work, at little power."""
    spinning = evidence.each_gpu("spinning")
    if len(spinning) < 2:
        return None
    typical = median(spinning.values())
    least = min(spinning.values())
    if typical < _SPINNING or least < typical / 2:  # one that does not spin is waited for
        return None
    across = len(evidence.timeline.nodes) > 1
    text = f"kernels ran at under half the power limit for {percent(typical)} of the training"
    sent = traffic(evidence)
    if sent:
        text += f"; {sent}"
    where = "the network" if across else "the links between them"
    since = _spinning_since(evidence)
    return Finding(
        "communication",
        f"The GPUs waited for {where} {percent(typical)} of the training."
        if since is None
        else f"The GPUs spun at low power all the time {since}, {percent(typical)} of the "
        "training: their collectives may have hung.",
        sentence([text]),
        "Collectives take longer than the computing that could hide them."
        if since is None
        else "One of the ranks stopped, or was late, and all others waited for it in a collective.",
        evidence.fix(
            "communication",
            "More tokens in a micro-batch; shard within a node (hybrid) rather than across nodes."
            if across
            else "More tokens in a micro-batch; fewer GPUs, each with a larger part.",
        ),
        lost_share=typical,
        columns=("power_w", "net_tx_mb_s", "ib_tx_mb_s"),
    )


def _spinning_since(evidence: Evidence) -> str | None:
    """When all GPUs began to spin without a pause, to the end; None where that is not so."""
    changes = evidence.changes("spinning")
    hung = [
        c for c in changes.values() if c.end is None and c.before < _SELDOM < 1 - _SELDOM < c.level
    ]
    if len(hung) < len(evidence.gpus) or not hung:
        return None
    return f"since {clock_time(evidence, max(change.begin for change in hung))}"


def checkpoints(evidence: Evidence) -> Finding | None:
    """Saving took a good part of the time."""
    events = evidence.events
    if events.training is None:
        return None
    # One that no step comes after says nothing of how often: the end, or a stop, asked for it.
    saves = [s for s in events.spans if s.kind == "checkpoint" and s.begin < events.training[1]]
    number, seconds = len(saves), sum(span.end - span.begin for span in saves)
    whole = max(events.training[1], *(span.end for span in events.spans), 0.0) - events.training[0]
    share = seconds / whole if whole > 0 else 0.0
    if not saves or share < _CHECKPOINTS:
        return None
    return Finding(
        "checkpoints",
        f"Checkpoints took {percent(share)} of the training.",
        f"{number} checkpoints took {seconds:.0f} s, {seconds / number:.1f} s each.",
        "They are written too often for how long each takes.",
        evidence.fix("checkpoints", "Save less often, or to a faster file system."),
        lost_share=share,
        columns=("sm_pct", "psi_io_pct"),
    )


def sockets(evidence: Evidence) -> Finding | None:
    """Traffic between nodes goes past InfiniBand that is there."""
    if len(evidence.timeline.nodes) < 2:
        return None
    fabric = evidence.each_node("ib_tx_mb_s")
    ethernet = evidence.each_node("net_tx_mb_s")
    named = evidence.transport is not None and evidence.transport.lower() == "socket"
    if not fabric or (not named and not ethernet):
        return None
    still = max(fabric.values()) < STILL_LINK_MB_S
    loaded = bool(ethernet) and max(ethernet.values()) >= _BUSY_LINK_MB_S
    if not still or not (named or loaded):
        return None
    text = f"InfiniBand carried {max(fabric.values()):.1f} MB/s a node"
    if ethernet:
        text += f", Ethernet {max(ethernet.values()):,.0f} MB/s"
    if named:
        text += "; the log says: network Socket"
    spinning = evidence.each_gpu("spinning")
    lost = median(spinning.values()) if spinning else None
    return Finding(
        "sockets",
        "The nodes talked over Ethernet sockets although they have InfiniBand.",
        text + ".",
        "The collectives did not find or may not use the InfiniBand ports.",
        evidence.fix("sockets", "Set NCCL_IB_HCA to the ports that are up, unset NCCL_IB_DISABLE."),
        lost_share=lost,
        critical=True,
        columns=("net_tx_mb_s", "ib_tx_mb_s"),
    )


def idle(evidence: Evidence) -> Finding | None:
    """The GPUs had little to do, whatever the reason."""
    low, use = evidence.each_gpu("low"), evidence.each_gpu("sm_pct")
    if not use:
        return None
    # Of two GPUs, one of which works, not both were idle.
    typical = median_high(use.values())
    share = median_low(low.values()) if low else 0.0
    if typical >= _POOR_USE and share < _LOW:
        return None
    strength = "hardly used" if typical < _BAD_USE else "idle"
    busy = evidence.each_node("cpu_busy_pct")
    text = f"GPU utilization was {typical:.0f}% on average"
    text += f"; under 15% in {percent(share)} of the seconds"
    if busy:
        text += f"; CPUs {min(busy.values()):.0f} to {max(busy.values()):.0f}% busy"
    return Finding(
        "idle",
        f"The GPUs were {strength} {percent(share)} of the training.",
        text + ".",
        "They waited for the program: for data, for disks, or for work of one process on a core.",
        evidence.fix("idle", "Look at what the program does between its steps; larger batches."),
        lost_share=share,
        columns=("sm_pct", "cpu_busy_pct"),
    )
