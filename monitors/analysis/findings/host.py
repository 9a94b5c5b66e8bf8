"""Findings on the nodes' CPUs and memory."""

from __future__ import annotations

import numpy as np

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings.phrases import gib, percent, sentence, several

_THROTTLED = 0.05
_PRESSED_PCT = 20.0
_CROWDED_PCT = 50.0
_FULL_PCT = 95.0
_SWAP_MIB_S = 1.0
_SWAP_GROWN_MIB = 256.0
_NEAR = 0.95
"""Least that is reported: shares of the run's time, and of the memory's limit."""
_SEVERAL_THREADS = 1.5
"""A number of threads on average: a single one needs no other core."""


def out_of_memory(evidence: Evidence) -> Finding | None:
    """The kernel killed for memory, or the job came close to its limit."""
    killed = sorted(
        node.node
        for node in (*evidence.timeline.nodes, *evidence.others)
        if (evidence.peak(node, "oom_kills_s") or 0.0) > 0
    )
    shares = {}
    for node in evidence.report.nodes:
        used, limit = node.cgroup_mem_mib.peak, node.cgroup_limit_mib
        if used is None or limit is None:
            used, limit = node.mem_used_mib.peak, node.mem_total_mib
        if used is not None and limit:
            shares[node.node] = (used / limit, used, limit)
    near = sorted(name for name, (share, _, _) in shares.items() if share >= _NEAR)
    if not killed and not near:
        return None
    names = killed or near
    worst = max((n for n in names if n in shares), key=lambda n: shares[n][0], default=None)
    text = "The kernel killed a process of the job for memory" if killed else ""
    if worst is not None:
        share, used, limit = shares[worst]
        peak = f"{worst} used up to {gib(used)} of {gib(limit)} ({percent(share)})"
        text = f"{text}; {peak}" if text else peak
    what = "ran out of memory" if killed else "came close to running out of memory"
    return Finding(
        "host-memory",
        f"{several(names)} {what}.",
        text + ".",
        "The job's processes on a node need more memory than it was given.",
        evidence.fix("host-memory", "Ask for more memory a node; fewer loader workers."),
        critical=True,
        where=tuple(names),
        columns=("cgroup_mem_mib", "mem_used_mib"),
    )


def swapping(evidence: Evidence) -> Finding | None:
    """Memory went to disk and back."""
    moved, grown = evidence.each_node("swap_mib_s"), {}
    for name, node in evidence.nodes.items():
        values = evidence.during(node, "swap_used_mib")
        if values is not None:
            known = values[~np.isnan(values)]
            grown[name] = float(known.max() - known[0])
    busy = {name for name, rate in moved.items() if rate >= _SWAP_MIB_S}
    swapped = sorted(busy | {name for name, mib in grown.items() if mib >= _SWAP_GROWN_MIB})
    if not swapped:
        return None
    parts = []
    if busy:
        parts.append(f"{max(moved[name] for name in busy):.1f} MiB/s moved")
    most = max((grown.get(name, 0.0) for name in swapped), default=0.0)
    if most >= 1:
        parts.append(f"{gib(most)} more in swap than at the start")
    pressed = evidence.each_node("psi_memory_pct")
    mine = [pressed[name] for name in swapped if name in pressed]
    if mine:
        parts.append(f"memory pressure (PSI some) {max(mine):.0f}%")
    return Finding(
        "swapping",
        f"{several(swapped)} swapped memory to disk during the training.",
        sentence(parts),
        "The machine's memory was not enough for all that ran on it.",
        evidence.fix("host-memory", "Ask for more memory a node, or the whole node."),
        lost_share=max(mine) / 100 if mine else None,
        critical=True,
        where=tuple(swapped),
        columns=("swap_used_mib", "psi_memory_pct"),
    )


def few_cores(evidence: Evidence) -> Finding | None:
    """The job's CPU limit kept its processes waiting, on most nodes."""
    throttled = evidence.each_node("throttled")
    slow = sorted(name for name, share in throttled.items() if share >= _THROTTLED)
    if not slow or (len(throttled) > 1 and 2 * len(slow) <= len(throttled)):
        return None
    worst = max(throttled[name] for name in slow)
    return Finding(
        "few-cores",
        f"The job had too few CPU cores on {several(slow)}.",
        f"The kernel held the job's threads back {worst:.2f} s in every second, all together.",
        "The CPU limit of the job is lower than what its processes need.",
        evidence.fix("few-cores", "Ask for more cores on each node."),
        lost_share=min(1.0, worst) if not evidence.gpus else _idle_part(evidence, min(1.0, worst)),
        where=tuple(slow),
        columns=("cpu_busy_pct", "psi_cpu_pct", "rank_queued_pct"),
    )


def full_cores(evidence: Evidence) -> Finding | None:
    """All cores were busy, or tasks waited for one."""
    pressed = evidence.each_node("psi_cpu_pct")
    busy = evidence.each_node("cpu_busy_pct")
    if not evidence.gpus:
        return _crowded(evidence) or _all_busy(evidence)
    slow = sorted(
        {name for name, share in pressed.items() if share >= _PRESSED_PCT}
        & {name for name, share in busy.items() if share >= _FULL_PCT / 2}
        | {name for name, share in busy.items() if share >= _FULL_PCT}
    )
    if not slow:
        return None
    parts = [f"CPUs {max(busy[name] for name in slow if name in busy):.0f}% busy"]
    mine = [pressed[name] for name in slow if name in pressed]
    if mine:
        parts.append(f"CPU pressure (PSI some) {max(mine):.0f}%")
    return Finding(
        "full-cores",
        f"The CPUs of {several(slow)} were the bottleneck.",
        sentence(parts),
        "More runs on the node than its cores can carry, or the job has too few of them.",
        evidence.fix("few-cores", "Ask for more cores on each node."),
        lost_share=_idle_part(evidence, max(mine, default=0.0) / 100),
        where=tuple(slow),
        columns=("cpu_busy_pct", "psi_cpu_pct"),
    )


def _crowded(evidence: Evidence) -> Finding | None:
    """Training on CPUs is meant to keep them busy, but not to have more to run than there are."""
    if evidence.each_node("rank_queued_pct"):  # that says more
        return None
    pressed, busy = evidence.each_node("psi_cpu_pct"), evidence.each_node("cpu_busy_pct")
    slow = sorted(
        name
        for name, share in pressed.items()
        if share >= _CROWDED_PCT and busy.get(name, 0.0) >= _FULL_PCT
    )
    if not slow:
        return None
    worst = max(slow, key=lambda name: pressed[name])
    return Finding(
        "crowded",
        f"More threads wanted to run on {several(slow)} than there are cores.",
        f"CPU pressure (PSI some) {pressed[worst]:.0f}% on {worst}, its cores "
        f"{busy[worst]:.0f}% busy.",
        "Threads take turns on the cores: the job starts too many, or other programs run there.",
        evidence.fix("few-cores", "Ask for more cores on each node, or start fewer threads."),
        where=tuple(slow),
        columns=("psi_cpu_pct", "cpu_busy_pct"),
    )


def _all_busy(evidence: Evidence) -> Finding | None:
    """The cores were busy, and how many there are is not known: vmstat does not say."""
    runnable, busy = evidence.each_node("runnable"), evidence.each_node("cpu_busy_pct")
    full = sorted(
        name
        for name, threads in runnable.items()
        if busy.get(name, 0.0) >= _FULL_PCT and threads >= _SEVERAL_THREADS
    )
    if not full:
        return None
    worst = max(full, key=lambda name: runnable[name])
    return Finding(
        "crowded",
        f"All cores of {several(full)} were busy: {runnable[worst]:.0f} threads on average ran or "
        "waited for one.",
        f"The cores of {worst} were {busy[worst]:.0f}% busy.",
        "Where these are more threads than cores, they take turns on them; how many cores there "
        "are is not recorded.",
        evidence.fix("few-cores", "Compare with nproc: ask for more cores; start fewer threads."),
        where=tuple(full),
        columns=("runnable", "cpu_busy_pct"),
    )


def _idle_part(evidence: Evidence, share: float) -> float:
    """No more was lost to the CPUs than the GPUs stood idle."""
    low = evidence.each_gpu("low")
    return min(share, max(low.values())) if low else share
