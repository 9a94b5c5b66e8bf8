"""Findings on single GPUs and nodes that differ from the others."""

from __future__ import annotations

from statistics import median

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings.phrases import (
    fraction,
    levels,
    percent,
    period,
    several,
)

_WAITING = 0.10
_FEW = 0.25
"""The slow ones are few: at most this share of all."""
_CLOCK = 0.10
_HOT, _HELD = 0.05, 0.05
_CAPPED = 0.25
_USED_PCT = 20.0
_THROTTLED = 0.05
"""Shares: of the peers' value by which a GPU differs, or of its time."""


def slow_gpu(evidence: Evidence) -> Finding | None:
    """All others spin in collectives while one works: they wait for that one."""
    spinning = evidence.each_gpu("spinning")
    if len(spinning) < 3:
        return _slow_clock(evidence)
    typical = median(spinning.values())
    slow = sorted(name for name, share in spinning.items() if share < typical / 3)
    if typical < _WAITING or not slow or len(slow) > max(1, _FEW * len(spinning)):
        return _slow_clock(evidence)
    own = max(spinning[name] for name in slow)
    lost = typical - own
    whom = "them" if len(slow) > 1 else "it"
    return _slow_peer(
        evidence,
        slow,
        lost,
        f"the others waited for {whom} {percent(lost)} of the training",
        f"The other GPUs spun at under half their power {percent(typical)} of the training, "
        f"{several(slow)} {percent(own)}",
        ("power_w", "sm_clock_mhz", "temperature_c"),
    )


def _slow_clock(evidence: Evidence) -> Finding | None:
    """One GPU runs at a lower clock than its peers."""
    clocks = evidence.each_gpu("sm_clock_mhz")
    use = evidence.each_gpu("sm_pct")
    clocks = {name: clock for name, clock in clocks.items() if use.get(name, 0) >= _USED_PCT}
    kinds = {evidence.gpus[name].info.name for name in clocks}
    if len(clocks) < 2 or len(kinds) > 1:
        return None
    typical = median(clocks.values()) if len(clocks) > 2 else max(clocks.values())
    slow = sorted(name for name, clock in clocks.items() if clock < (1 - _CLOCK) * typical)
    if not slow or len(slow) > max(1, _FEW * len(clocks)):
        return None
    worst = min(slow, key=lambda name: clocks[name])
    lost = 1 - clocks[worst] / typical
    own = _level_of(evidence, worst, "sm_clock_mhz", "MHz")
    change = evidence.changes("sm_clock_mhz").get(worst)
    if change is None:
        says = f"up to {percent(lost)} slower clocks than the others"
    else:
        says = f"{period(evidence, change)} {fraction(change.low / change.high)} the clock: "
        says += f"{change.low:,.0f} of {change.high:,.0f} MHz"
    return _slow_peer(
        evidence,
        slow,
        lost,
        says,
        f"{worst} ran at {own}, the others at {typical:.0f} MHz",
        ("sm_clock_mhz", "power_w", "temperature_c"),
    )


def _slow_peer(
    evidence: Evidence,
    slow: list[str],
    lost: float,
    says: str,
    text: str,
    columns: tuple[str, ...],
) -> Finding:
    return Finding(
        "slow-peer",
        f"{several(slow)} held the job back: {says}.",
        f"{text}{_marks_of(evidence, slow)}.",
        _cause(evidence, slow),
        evidence.fix(
            "slow-peer", f"Leave {several(_nodes(slow))} out and tell the site.", _nodes(slow)
        ),
        where=tuple(slow),
        lost_share=lost,
        columns=columns,
    )


def slow_node(evidence: Evidence) -> Finding | None:
    """One node's processes were kept off their cores, the other nodes' were not."""
    throttled = evidence.each_node("throttled")
    if len(throttled) < 2:
        return None
    slow = sorted(name for name, share in throttled.items() if share >= _THROTTLED)
    others = [share for name, share in throttled.items() if name not in slow]
    if not slow or not others or len(slow) > max(1, _FEW * len(throttled)):
        return None
    worst = max(throttled[name] for name in slow)
    if max(others) > worst / 3:
        return None
    lost = min(1.0, worst)
    return Finding(
        "slow-peer",
        f"{several(slow)} held the job back: its processes were kept off their cores "
        f"{percent(lost)} of the training.",
        f"The kernel held back {several(slow)} {worst:.2f} s in every second (all threads "
        f"together), the other nodes at most {max(others):.2f} s.",
        "The job's CPU limit on that node is lower than what its processes need.",
        evidence.fix("few-cores", "Ask for more cores on each node."),
        lost_share=lost,
        where=tuple(slow),
        columns=("cpu_busy_pct", "psi_cpu_pct", "rank_queued_pct"),
    )


def too_hot(evidence: Evidence) -> Finding | None:
    """Clocks were lowered for heat, or by the board itself."""
    found = evidence.each_gpu("hot")
    held = evidence.each_gpu("held_back")
    shares = {name: max(found.get(name, 0), held.get(name, 0)) for name in {**found, **held}}
    hot = sorted(name for name, share in shares.items() if share >= _HOT)
    if not hot:
        return None
    worst = max(hot, key=lambda name: shares[name])
    peak = evidence.peak(evidence.gpus[worst], "temperature_c")
    degrees = "" if peak is None else f"; up to {peak:.0f} C"
    reason = "heat" if found.get(worst, 0) >= held.get(worst, 0) else "a hardware signal"
    return Finding(
        "thermal",
        f"{several(hot)} ran at lowered clocks because of {reason} for up to "
        f"{percent(shares[worst])} of the training.",
        f"The driver gave {reason} as the reason for lower clocks in {percent(shares[worst])} of "
        f"the seconds{degrees}{_clock_loss_text(evidence, worst)}.",
        "Cooling or power of that machine: nothing a job can set.",
        evidence.fix(
            "thermal", f"Leave {several(_nodes(hot))} out and tell the site.", _nodes(hot)
        ),
        where=tuple(hot),
        lost_share=max(_clock_loss(evidence, worst), _HOT),
        columns=("sm_clock_mhz", "temperature_c"),
    )


def held_by_power(evidence: Evidence) -> Finding | None:
    """Clocks were lowered to stay under the power limit, and it cost time.

    A power limit that is reached under full load is how these GPUs are meant to run; it is reported
    only where the clock fell well below the best of the same run.
    """
    shares = evidence.each_gpu("power_capped")
    capped = [name for name, share in shares.items() if share >= _CAPPED]
    losses = {name: _clock_loss(evidence, name) for name in capped}
    slow = sorted(name for name, loss in losses.items() if loss >= _CLOCK)
    if not slow:
        return None
    worst = max(slow, key=lambda name: losses[name])
    limit = evidence.gpus[worst].info.power_limit_w
    under = "" if limit is None else f" of {limit:.0f} W"
    return Finding(
        "power",
        f"{several(slow)} ran into the power limit{under} for up to "
        f"{percent(shares[worst])} of the training.",
        f"In {percent(shares[worst])} of the seconds the power limit held the clock of {worst} "
        f"down{_clock_loss_text(evidence, worst)}.",
        "The limit is set below what the GPU could use.",
        evidence.fix("power", "Ask the site whether the limit is meant to be that low."),
        where=tuple(slow),
        lost_share=losses[worst],
        columns=("power_w", "sm_clock_mhz"),
    )


def _nodes(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(" GPU ")[0] or name for name in names))


def _cause(evidence: Evidence, slow: list[str]) -> str:
    for value, cause in (
        ("hot", "It was too hot and lowered its clocks."),
        ("held_back", "A hardware signal (power brake, slowdown) lowered its clocks."),
        ("power_capped", "Its power limit lowered its clocks."),
    ):
        shares = evidence.each_gpu(value)
        mine = [shares.get(name, 0.0) for name in slow]
        others = [share for name, share in shares.items() if name not in slow]
        if mine and max(mine) >= 0.2 and (not others or max(mine) > 2 * median(others)):
            return cause
    busy = evidence.each_gpu("low")
    if busy and max(busy.get(name, 0.0) for name in slow) >= _WAITING:
        return "It was itself idle at times: its process, its CPUs or its data were late."
    return "It does the same work more slowly than its peers."


def _marks_of(evidence: Evidence, slow: list[str]) -> str:
    parts = []
    for value, unit, name in (("sm_clock_mhz", "MHz", "clock"), ("temperature_c", "C", "")):
        means = evidence.each_gpu(value)
        mine = [one for one in slow if one in means]
        others = [mean for one, mean in means.items() if one not in slow]
        if mine and others:
            text = (
                f"{_level_of(evidence, mine[0], value, unit)} against {median(others):.0f} {unit}"
            )
            parts.append(f"{name} {text}".strip())
    capped = evidence.each_gpu("power_capped")
    if slow[0] in capped and capped[slow[0]] >= _THROTTLED:
        parts.append(f"power-capped {percent(capped[slow[0]])}")
    return "; " + ", ".join(parts) if parts else ""


def _clock_loss(evidence: Evidence, name: str) -> float:
    """How far the mean clock lies below the highest any GPU of its kind had in this run."""
    clock = evidence.each_gpu("sm_clock_mhz").get(name)
    kind = evidence.gpus[name].info.name
    peers = [other for other, gpu in evidence.gpus.items() if gpu.info.name == kind]
    best = max(
        (evidence.peak(evidence.gpus[other], "sm_clock_mhz") or 0.0 for other in peers), default=0.0
    )
    return 0.0 if clock is None or not best else max(0.0, 1 - clock / best)


def _level_of(evidence: Evidence, name: str, column: str, unit: str) -> str:
    """A value of a GPU: both levels where it changed, not a mean that never was."""
    change = evidence.changes(column).get(name)
    if change is not None:
        return levels(evidence, change, f" {unit}")
    return f"{evidence.each_gpu(column)[name]:.0f} {unit}"


def _clock_loss_text(evidence: Evidence, name: str) -> str:
    change = evidence.changes("sm_clock_mhz").get(name)
    if change is not None:
        return f"; its clock was {levels(evidence, change, ' MHz')}"
    loss = _clock_loss(evidence, name)
    return f"; its clock was {percent(loss)} below the best of this run" if loss >= 0.02 else ""
