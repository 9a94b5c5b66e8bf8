"""Findings on what the ranks' main threads did: which node the others waited for, and the network.

A rank that trains on CPUs either runs, waits for a core, or waits for others. Of
ranks on GPUs only the standing in line counts, for they may spin while they wait.
"""

from __future__ import annotations

from statistics import median, median_low

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings.phrases import percent, sentence, several, traffic

_FEW = 0.25
_APART = 0.25
"""Share of the training by which a node's ranks must be busier than the others', to be too slow."""
_IN_LINE = 0.15
"""Share of the training in which ranks waited for a core, to be reported."""
_WAITED = 0.15
"""Share of the training that ranks waited, to be reported."""


def slow_ranks(evidence: Evidence) -> Finding | None:
    """The ranks of one node had no time to wait: those of all other nodes waited for them."""
    queued = evidence.shares_of_nodes("rank_queued_pct")
    busy = queued if evidence.gpus else busy_ranks(evidence)
    if len(busy) < 2:
        return None
    typical = median_low(busy.values())  # of two nodes that of the one that waits
    least = _IN_LINE if evidence.gpus else _APART
    slow = sorted(name for name, share in busy.items() if share - typical >= least)
    if not slow or len(slow) > max(1, _FEW * len(busy)):
        return None
    worst = max(slow, key=lambda name: busy[name])
    lost = busy[worst] - typical
    others = [share for name, share in queued.items() if name not in slow]
    starved = queued.get(worst, 0.0) - median(others) > lost / 2
    text = f"the ranks on {worst} were at work or wanted to be {percent(busy[worst])} of the time"
    if evidence.gpus:
        text = f"the ranks on {worst} waited for a core {percent(busy[worst])} of the time"
    text += f", those of the other nodes {percent(typical)}"
    if starved and not evidence.gpus:
        text += f"; {percent(queued[worst])} of it in line for a core"
    whom = "them" if len(slow) > 1 else "it"
    return Finding(
        "slow-peer",
        f"{several(slow)} held the job back: the others waited for {whom} {percent(lost)} of the "
        "training.",
        sentence([text]),
        "Something else on that node takes its cores, or its CPU limit is lower."
        if starved
        else "Its ranks have more to do than the others, or do the same more slowly.",
        evidence.fix("slow-peer", f"Leave {several(slow)} out and tell the site.", slow),
        lost_share=lost,
        where=tuple(slow),
        columns=("rank_ran_pct", "rank_queued_pct", "cpu_busy_pct"),
    )


def queued_ranks(evidence: Evidence) -> Finding | None:
    """The ranks of a node waited for cores: there are too few for them, or others take them."""
    queued = evidence.shares_of_nodes("rank_queued_pct")
    crowded = sorted(name for name, share in queued.items() if share >= _IN_LINE)
    if not crowded or slow_ranks(evidence) is not None:  # the others queue while they wait for it
        return None
    worst = max(crowded, key=lambda name: queued[name])
    text = f"the main threads of the ranks on {worst} waited for a core {percent(queued[worst])}"
    ran = evidence.shares_of_nodes("rank_ran_pct").get(worst)
    text += " of the time" if ran is None else f" of the time and ran {percent(ran)}"
    busy = evidence.each_node("cpu_busy_pct").get(worst)
    parts = [text] if busy is None else [text, f"all cores of the node together {busy:.0f}% busy"]
    lost = queued[worst]
    low = evidence.each_gpu("low")
    if len(low) == 1:  # of several GPUs those that wait for a late rank spin, and look busy
        lost = min(lost, *low.values())
    return Finding(
        "rank-queue",
        f"The ranks queued for cores on {several(crowded)}, up to {percent(queued[worst])} of the "
        "training.",
        sentence(parts),
        "More threads want to run than the job has cores on the node, or other programs take them.",
        evidence.fix(
            "few-cores", "Ask for more cores on each node; fewer ranks, threads or loader workers."
        ),
        lost_share=lost,
        where=tuple(crowded),
        columns=("rank_queued_pct", "cpu_busy_pct", "psi_cpu_pct"),
    )


def waiting_ranks(evidence: Evidence) -> Finding | None:
    """All ranks, on CPUs, waited at the same time: neither at work nor for a core or for data."""
    queued = evidence.shares_of_nodes("rank_queued_pct")
    ran = evidence.shares_of_nodes("rank_ran_pct")
    if evidence.gpus or len(ran) < 2 or not evidence.events.steps:
        return None
    # Each rank computes at the same time as the others; but each stands in line at other times,
    # and then the others wait for it. What is left, all have waited for something that is none.
    explained = evidence.waited_for_data + evidence.saving
    lost = 1 - max(ran.values()) - sum(queued.values()) - explained
    if lost < _WAITED:
        return None
    text = (
        f"in {percent(lost)} of the time at least no rank ran, wanted a core or waited for data; "
        f"they ran {percent(min(ran.values()))} to {percent(max(ran.values()))}"
    )
    sent = traffic(evidence)
    return Finding(
        "communication",
        f"The ranks waited for the network {percent(lost)} of the training.",
        sentence([text, sent] if sent else [text]),
        "Collectives take longer than the computing that could hide them.",
        evidence.fix(
            "communication",
            "More tokens in a micro-batch; shard within a node (hybrid) rather than across nodes.",
        ),
        lost_share=lost,
        columns=("rank_ran_pct", "net_tx_mb_s", "ib_tx_mb_s"),
    )


def busy_ranks(evidence: Evidence) -> dict[str, float]:
    """Share of the training in which a node's ranks ran, or waited for a core."""
    queued = evidence.shares_of_nodes("rank_queued_pct")
    ran = evidence.shares_of_nodes("rank_ran_pct")
    return {name: share + queued[name] for name, share in ran.items() if name in queued}
