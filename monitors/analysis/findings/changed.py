"""Findings on values that changed within the run: from when on, and from what to what."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

import numpy as np

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings.phrases import fraction, levels, percent, period, several
from monitors.analysis.levels import LevelChange, level_change

_TOGETHER = 0.05
"""Share of the record: changes that are no further apart came at once."""
_SLOWER = 0.2
"""Least growth of the time of a step that counts, as a share of the longer time."""
_LASTING_S = 60.0
"""Seconds that each level has to last: steps of a busy machine come and go."""
_MUCH_USED_PCT = 40.0
_REASON = 0.2
"""Share of the training in which the driver gave a reason for lower clocks, to believe it."""


def lower_clock(evidence: Evidence) -> Finding | None:
    """The SM clock of GPUs that were in use fell within the run."""
    return _lower("clock", "clock", "sm_clock_mhz", evidence, evidence.changes("sm_clock_mhz"))


def lower_memory_clock(evidence: Evidence) -> Finding | None:
    """The clock of the memory of GPUs that were in use fell within the run."""
    changes = evidence.changes("memory_clock_mhz")
    return _lower("memory-clock", "memory clock", "memory_clock_mhz", evidence, changes)


def _lower(
    key: str, what: str, column: str, evidence: Evidence, every: Mapping[str, LevelChange]
) -> Finding | None:
    changes = {name: every[name] for name in _at_once(evidence, every)}
    if not changes:
        return None
    worst = max(changes, key=lambda name: changes[name].loss)
    change, names = changes[worst], sorted(changes)
    part = fraction(change.low / change.high)
    return Finding(
        key,
        f"{_who(evidence, names)} ran at {part} the {what} {period(evidence, change)}: "
        f"{change.low:,.0f} of {change.high:,.0f} MHz.",
        f"{worst}: {levels(evidence, change, ' MHz')}, while it was in use.",
        _why_lower(evidence, names, what),
        evidence.fix(key, "If it comes again on the same GPUs, leave them out and tell the site."),
        lost_share=change.loss,
        where=tuple(names),
        columns=(column, "temperature_c", "power_w", "sm_pct"),
    )


def _who(evidence: Evidence, names: list[str]) -> str:
    if len(names) < max(2, len(evidence.gpus)):
        return several(names)
    return "Both GPUs" if len(names) == 2 else f"All {len(names)} GPUs"


def _why_lower(evidence: Evidence, names: list[str], what: str) -> str:
    unknown = f"What lowered the {what} is not recorded: heat, a power limit or a setting."
    if what != "clock":  # the driver gives reasons for the SMs' clock alone
        return unknown
    for column, cause in (
        ("hot", "It was too hot: the driver lowered the clock."),
        ("held_back", "A hardware signal (power brake, slowdown) lowered the clock."),
        ("power_capped", "The power limit lowered the clock."),
    ):
        shares = evidence.each_gpu(column)
        if max((shares.get(name, 0.0) for name in names), default=0.0) >= _REASON:
            return cause
    return unknown


def less_used(evidence: Evidence) -> Finding | None:
    """GPUs that were busy had much less to do from some moment on."""
    changes = {n: c for n, c in evidence.changes("sm_pct").items() if c.high >= _MUCH_USED_PCT}
    names = _at_once(evidence, changes)
    if not names:
        return None
    worst = max(names, key=lambda name: changes[name].loss)
    change = changes[worst]
    every = len(names) == len(evidence.gpus)
    who = "The GPUs" if every else several(names)
    lost = change.loss if every else change.loss * len(names) / len(evidence.gpus)
    return Finding(
        "less-used",
        f"{who} had much less to do {period(evidence, change)}: utilization {change.low:.0f}%, "
        f"else {change.high:.0f}%.",
        f"GPU utilization of {worst}: {levels(evidence, change, '%')}.",
        "From then on the program gave them less work, or waited: for data, for others, for disks."
        if change.fell and change.end is None
        else "In that time the program gave them less work, or waited: for data, for others.",
        evidence.fix("less-used", "Look at what the program logged at that moment."),
        lost_share=lost,
        where=() if every else tuple(names),
        columns=("sm_pct", "power_w", "cpu_busy_pct"),
    )


def slower_steps(evidence: Evidence) -> Finding | None:
    """Steps took longer from some moment on."""
    warm_up = {span.end for span in evidence.events.warm_up}
    steps = [step for step in evidence.events.steps if step.end not in warm_up]
    tokens = [step.tokens or 0.0 for step in steps]
    if not steps:
        return None
    usual = median(tokens)
    # A step with more tokens may take longer.
    known = usual > 0 and all(tokens)
    times = np.array(
        [s.seconds * (usual / t if known else 1.0) for s, t in zip(steps, tokens, strict=True)]
    )
    change = level_change(np.array([step.end for step in steps]), times, _SLOWER)
    if change is None:
        return None
    if min(change.share, 1 - change.share) * float(times.sum()) < _LASTING_S:
        return None
    slow_share = 1 - change.share if change.fell else change.share
    excess = (change.high - change.low) * slow_share
    first = next((s.number for s in steps if s.end > change.begin), None)
    step = "" if first is None else f" (step {first})"
    # The stretch at the higher level is the slow one here.
    when = _slow_period(evidence, change, step)
    return Finding(
        "slower-steps",
        f"Steps took {change.high / change.low:.1f} times as long {when}: {change.high:.2f} s, "
        f"else {change.low:.2f} s.",
        f"Step time {change.high:.2f} s {when}, else {change.low:.2f} s; it cost "
        f"{percent(excess / float(times.mean()))} of the training.",
        "Something changed at that moment: the plots show whether clocks, data or CPUs did.",
        evidence.fix("slower-steps", "Compare the plots before and after that moment."),
        lost_share=excess / float(times.mean()),
        columns=("sm_pct", "sm_clock_mhz", "power_w", "cpu_busy_pct", "rank_queued_pct"),
    )


def _slow_period(evidence: Evidence, change: LevelChange, step: str) -> str:
    slow = LevelChange(change.begin, change.end, -change.level, -change.before, change.share)
    text = period(evidence, slow)
    return f"{text}{step}" if change.end is None else text


def _at_once(evidence: Evidence, changes: Mapping[str, LevelChange]) -> list[str]:
    """GPUs whose value changed when that of the worst did, and in the same direction."""
    if not changes:
        return []
    worst = max(changes.values(), key=lambda change: change.loss)
    near = _TOGETHER * evidence.timeline.cells * evidence.timeline.step_s
    return sorted(
        name
        for name, change in changes.items()
        if change.fell == worst.fell and abs(change.begin - worst.begin) <= near
    )
