"""What held a job back: a small function for each finding, and their order.

A rule looks at `Evidence` and returns a `Finding`, or None where nothing is wrong. It gets means
over the training by `evidence.each_gpu(column)` and `each_node(column)`, levels that changed within
it by `changes(column)`, the highest value by `peak(line, column)`; `evidence.events` has the steps.
Columns are the sampled values of `monitors/samples` with `report=True`. What it says of GPUs and
times comes from `phrases`. `peers.too_hot` is one to begin from.
"""

from __future__ import annotations

from collections.abc import Callable

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings import (
    changed,
    errors,
    host,
    memory,
    peers,
    ranks,
    unused,
    waits,
    whole_record,
)

MOST = 5
NOTHING = "Nothing stands out."
NOTHING_READ = "Nothing stands out in what could be read."
TOO_FEW_SAMPLES = "Too few samples for a verdict."
_CAUSES = {
    "thermal": ("slow-peer",),
    "power": ("slow-peer",),
    "clock": ("slow-peer", "thermal", "power"),
}
"""Findings that are part of others, where those are of the same GPUs or nodes."""
_SYMPTOMS = ("idle", "idle-record", "crowded")
"""What others look like from outside: each says something new only where no other finding says
why, and makes those that stand behind it superfluous."""
_BESIDE = {"rank-queue": 0.5, "slower-steps": 0.5, "less-used": 0.5}
"""What a finding's cost counts for its place: these are seen beside what else holds a job back."""
_EXPLAINED = 0.5
"""Share of what a symptom cost that another finding has to have cost, to be the reason."""
_LEAST_SHARE = 0.03
"""Share of the training that a finding has to cost to be listed, where its cost is known."""


def _slow_node(evidence: Evidence) -> Finding | None:
    """One node that is named once, by its CPU limit or else by what its ranks did."""
    return peers.slow_node(evidence) or ranks.slow_ranks(evidence)


def _few_cores(evidence: Evidence) -> Finding | None:
    """Nodes with too few cores, by the job's CPU limit or else by what its ranks waited."""
    return host.few_cores(evidence) or ranks.queued_ranks(evidence)


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
    changed.lower_clock,
    changed.lower_memory_clock,
    unused.unused_gpus,
    waits.data,
    waits.communication,
    ranks.waiting_ranks,
    waits.checkpoints,
    _few_cores,
    host.full_cores,
    whole_record.disk_waits,
    waits.sockets,
    changed.slower_steps,
    changed.less_used,
    waits.idle,
    whole_record.idle_gpus,
    whole_record.idle_cpus,
    memory.headroom,
)


def apply_rules(evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings that matter, `MOST` at most: critical ones first, then by their cost."""
    if not evidence.enough:
        return ()
    found = [finding for rule in RULES if (finding := rule(evidence)) is not None]
    worth = [f for f in found if f.critical or f.lost_share is None or f.lost_share >= _LEAST_SHARE]
    worth = _without_symptoms(worth)
    worth.sort(key=lambda f: (not f.critical, -(f.lost_share or 0.0) * _BESIDE.get(f.key, 1.0)))
    worth = [f for f in worth if not _is_part(f, worth)]
    return tuple(worth[:MOST])


def _is_part(finding: Finding, others: list[Finding]) -> bool:
    """Whether another finding tells what this one does: why a slow GPU is slow."""
    wholes = _CAUSES.get(finding.key, ())
    where = {name for other in others if other.key in wholes for name in other.where}
    return bool(wholes) and where.issuperset(finding.where)


def _without_symptoms(findings: list[Finding]) -> list[Finding]:
    causes = [finding.lost_share or 0.0 for finding in findings if finding.key not in _SYMPTOMS]
    found, before = [], 0.0
    for finding in findings:
        if finding.key in _SYMPTOMS:
            lost = finding.lost_share or 0.0
            if (most := max([before, *causes])) and most >= _EXPLAINED * lost:
                continue
            before = max(before, lost)
        found.append(finding)
    return found


def verdict(evidence: Evidence | None, findings: tuple[Finding, ...], whole: bool = True) -> str:
    """Return one sentence: what held the job back.

    `whole` says whether everything that the findings rest on could be read.
    """
    if evidence is None or not evidence.enough:
        return TOO_FEW_SAMPLES
    first = next((finding for finding in findings if not finding.hint), None)
    return first.headline if first else NOTHING if whole else NOTHING_READ
