"""Findings on the whole record: what was not used for most of it, whatever the training did."""

from __future__ import annotations

from statistics import median_low

import numpy as np

from monitors.analysis.columns import LOW_PCT
from monitors.analysis.events import PHASES, phases
from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings.phrases import clock_time, percent, several
from monitors.analysis.timeline import Band

_MOST = 0.5
"""Share of the record."""
_STILL_PCT = 5.0
"""Cores that are less busy than this have nothing to do."""
_DISK_PCT = 20.0
_PHASES_NAMED = 3


def idle_gpus(evidence: Evidence) -> Finding | None:
    """The GPUs did next to nothing for most of the record, in or beside the training."""
    shares = [
        share
        for gpu in evidence.gpus.values()
        if (share := _share_under(gpu.bands.get("sm_pct"), LOW_PCT)) is not None
    ]
    if not shares or median_low(shares) < _MOST:
        return None
    share = median_low(shares)
    begin, end = evidence.timeline.record
    text = f"GPU utilization was under {LOW_PCT}% in {percent(share)} of {_duration(end - begin)}"
    text += _first_work(evidence) + _other_phases(evidence)
    return Finding(
        "idle-record",
        f"The GPUs were idle {percent(share)} of the record.",
        text + ".",
        "The program did not use them in that time: it was starting, loading, preparing, waiting, "
        "or had ended or failed.",
        evidence.fix("idle-record", "See what it did then; end a job when its program ends."),
        lost_share=share,
        columns=("sm_pct", "cpu_busy_pct"),
    )


def idle_cpus(evidence: Evidence) -> Finding | None:
    """The cores did next to nothing, where nothing else is known of what the job did."""
    nodes = evidence.nodes
    if evidence.gpus or any("rank_ran_pct" in n.bands or "cgroup_cores" in n.bands
                            for n in nodes.values()):  # fmt: skip
        return None
    shares = {
        name: share
        for name, node in nodes.items()
        if (share := _share_under(node.bands.get("cpu_busy_pct"), _STILL_PCT)) is not None
    }
    still = sorted(name for name, share in shares.items() if share >= _MOST)
    if not still:
        return None
    worst = max(shares[name] for name in still)
    return Finding(
        "idle-record",
        f"The CPUs of {several(still)} were idle {percent(worst)} of the record.",
        f"Under {_STILL_PCT:.0f}% of the cores were busy in that time.",
        "The program waited, or used few of the cores, or did not run.",
        evidence.fix(
            "idle-record", "See what it did then; ask for fewer cores where few are used."
        ),
        lost_share=worst,
        where=tuple(still),
        columns=("cpu_busy_pct",),
    )


def disk_waits(evidence: Evidence) -> Finding | None:
    """Cores stood still for disks."""
    waits = evidence.each_node("cpu_iowait_pct")
    slow = sorted(name for name, mean in waits.items() if mean >= _DISK_PCT)
    if not slow:
        return None
    worst = max(waits[name] for name in slow)
    low = evidence.each_gpu("low")
    lost = worst / 100
    return Finding(
        "disk-waits",
        f"The cores of {several(slow)} waited for disks {worst:.0f}% of the time.",
        f"I/O wait {worst:.0f}% on average over the training.",
        "Data or checkpoints are read or written more slowly than the job needs them.",
        evidence.fix("disk-waits", "Put the data on a faster or a local disk; read it only once."),
        lost_share=min(lost, max(low.values())) if low else lost,
        where=tuple(slow),
        columns=("cpu_iowait_pct", "psi_io_pct"),
    )


def _share_under(band: Band | None, pct: float) -> float | None:
    if band is None:
        return None
    known = band.mean[np.isfinite(band.mean)]
    return float(np.mean(known < pct)) if len(known) else None


def _first_work(evidence: Evidence) -> str:
    """When the first GPU had something to do."""
    bands = [gpu.bands["sm_pct"].mean for gpu in evidence.gpus.values() if "sm_pct" in gpu.bands]
    busy = np.flatnonzero((np.nan_to_num(np.stack(bands)) >= LOW_PCT).any(axis=0))
    if not len(busy):
        return ", and at no time above"
    edges = evidence.timeline.edges
    first, last = float(edges[busy[0]]), float(edges[busy[-1] + 1])
    return f"; work came between {clock_time(evidence, first)} and {clock_time(evidence, last)}"


def _other_phases(evidence: Evidence) -> str:
    """What the program's events say of the time beside its steps."""
    if not evidence.events.steps:
        return ""
    spent = phases(evidence.events, *evidence.timeline.record)
    others = sorted(((s, kind) for kind, s in spent.items() if kind != "step"), reverse=True)
    parts = [f"{PHASES[kind]} {_duration(seconds)}" for seconds, kind in others[:_PHASES_NAMED]]
    return f"; beside the steps: {', '.join(parts)}" if parts else ""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
