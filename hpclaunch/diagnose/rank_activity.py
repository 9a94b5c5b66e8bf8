"""Where ranks hang: whose GPUs spin at low power or idle, and whose main threads sleep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hpclaunch.diagnose.rank_threads import main_threads, thread_lines
from hpclaunch.frozen import frozen
from hpclaunch.units import duration
from monitors.storage.live import NodeNow, Point
from monitors.storage.rank_states import RUNNING, RankStates

LOOKED_AT_S = 30.0
"""Seconds of the newest samples that are looked at."""
SPINS_PCT, IDLE_PCT = 90.0, 5.0
"""GPU utilization from which a GPU counts as busy, and up to which as idle."""
LOW_POWER = 0.45
"""Share of the power limit below which a busy GPU only spins: NCCL's kernels wait so."""
SLEEPS_PCT, RUNS_PCT = 5.0, 50.0
"""Share of the time for which a main thread ran, up to which it sleeps and from which it runs."""
_NAMED = 8


@frozen
class _Gpu:
    name: str
    busy_pct: float
    power_w: float | None
    limit_w: float | None

    @property
    def kind(self) -> str:
        if self.busy_pct <= IDLE_PCT:
            return "idle"
        if self.busy_pct < SPINS_PCT or not self.power_w or not self.limit_w:
            return "busy"
        return "spin" if self.power_w < LOW_POWER * self.limit_w else "work"


def rank_lines(
    nodes: Sequence[NodeNow],
    hosts: Sequence[str],
    processes_per_node: int,
    states: Mapping[str, RankStates] | None = None,
) -> tuple[str, ...]:
    """Return what the ranks' GPUs and main threads do, a line for each kind; () where unknown.

    `hosts`: the job's nodes in the order of their ranks, as far as known; `states`: what a node's
    sidecar wrote of each rank's main thread.
    """
    here = [node for node in nodes if node.points and (not hosts or node.node in hosts)]
    lines = [f"{node.node} records no samples: the last is {duration(node.age_s)} old"
             for node in here if node.silent]  # fmt: skip
    current = [node for node in here if node.current]
    gpus = [gpu for node in current for gpu in _gpus(node, hosts, processes_per_node)]
    lines += _gpu_lines(gpus)
    threads = main_threads(current, states or {}, hosts, processes_per_node)
    # A thread that waits for a busy GPU runs: only beside idle ones, or none, it tells more.
    busy = any(gpu.kind != "idle" for gpu in gpus)
    if not busy or any(thread.state != RUNNING for thread in threads):
        lines += thread_lines(threads, max(1, len(hosts)) * processes_per_node)
    if not busy:
        seen = {thread.node for thread in threads}
        lines += _node_lines([node for node in current if node.node not in seen])
    return tuple(lines)


def _gpu_lines(gpus: Sequence[_Gpu]) -> list[str]:
    kinds: dict[str, list[_Gpu]] = defaultdict(list)
    for gpu in gpus:
        kinds[gpu.kind].append(gpu)
    lines = []
    if idle := kinds["idle"]:
        text = f"GPU idle: {_who(idle, gpus)}"
        lines.append(text + ("; the others wait for it" if kinds["spin"] else ""))
    if spin := kinds["spin"]:
        text = f"GPU spins at low power ({_watts(spin)}): {_who(spin, gpus)}"
        lines.append(f"{text}; it waits for other ranks")
    if work := kinds["work"]:
        lines.append(f"GPU works ({_watts(work)}): {_who(work, gpus)}")
    if busy := kinds["busy"]:
        pct = _span([gpu.busy_pct for gpu in busy])
        lines.append(f"GPU {pct}% busy: {_who(busy, gpus)}")
    return lines


def _node_lines(nodes: Sequence[NodeNow]) -> list[str]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        ran = _mean(point.tick.host.rank_ran_pct for point in _newest(node))
        queued = _mean(point.tick.host.rank_queued_pct for point in _newest(node)) or 0.0
        if ran is None:
            continue
        if ran >= RUNS_PCT:
            kinds["run"].append(node.node)
        elif ran + queued <= SLEEPS_PCT:
            kinds["sleep"].append(node.node)
    return [f"the ranks' main threads {kind}: on {_names(names)}" for kind, names in kinds.items()]


def _gpus(node: NodeNow, hosts: Sequence[str], per_node: int) -> list[_Gpu]:
    """Return what a node's GPUs did in the newest samples, each named by its rank if known."""
    points = _newest(node)
    limits = {gpu.index: gpu.power_limit_w for gpu in node.gpus}
    indices = sorted({gpu.index for point in points for gpu in point.tick.gpus or ()})
    found = []
    for place, index in enumerate(indices):
        samples = [gpu for p in points for gpu in p.tick.gpus or () if gpu.index == index]
        busy = _mean(sample.sm_pct for sample in samples)
        if busy is None:
            continue
        name = f"{node.node} GPU {index}"
        if node.node in hosts and len(indices) == per_node:
            name = f"rank {hosts.index(node.node) * per_node + place} ({name})"
        power = _mean(sample.power_w for sample in samples)
        found.append(_Gpu(name, busy, power, limits.get(index)))
    return found


def _newest(node: NodeNow) -> list[Point]:
    last = node.points[-1].tick.mono
    return [point for point in node.points if point.tick.mono >= last - LOOKED_AT_S]


def _who(some: Sequence[_Gpu], every: Sequence[_Gpu]) -> str:
    if len(some) == len(every) and len(some) > 1:
        return f"all {len(some)}"
    return _names([gpu.name for gpu in some])


def _names(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _watts(gpus: Sequence[_Gpu]) -> str:
    limits = [gpu.limit_w for gpu in gpus if gpu.limit_w]
    return f"{_span([gpu.power_w or 0.0 for gpu in gpus])} of {_span(limits)} W"


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
