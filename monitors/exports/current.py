"""OpenMetrics of the newest values alone, for a program that asks every few seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from monitors.exports.families import FAMILIES, Family
from monitors.records import GpuInfo, GpuSample
from monitors.samples.fields import GPU_METRICS, Value, known_values
from monitors.storage.live import NodeNow

_UP = Family("job_node_up", "1 while the node is sampled, 0 once its samples stay away.")
_SEEN = Family(
    "job_node_last_sample_timestamp_seconds",
    "When the node was last sampled, by its own clock.",
    "seconds",
)
_TOTAL = Family("job_gpu_memory_total_bytes", "Memory of the GPU.", "bytes", 1024 * 1024)
_LIMIT = Family("job_gpu_power_limit_watts", "Power the GPU may draw.", "watts")
Labels = list[tuple[str, str]]
SELDOM = tuple(name for name, metric in GPU_METRICS.items() if metric.seldom)
"""Values that are not in every tick. The others, where the newest tick has none, are unknown."""
LOOK_BACK = 60
"""Ticks: twice as far as the seldomest of them lie apart."""


def current(nodes: Iterable[NodeNow]) -> Iterator[str]:
    """The families with the newest values of nodes, without the end mark.

    What is not known, and the figures of a node that is no longer sampled, are left out.
    """
    found = tuple(nodes)
    yield from _family(_UP, ((_node(n), int(n.current)) for n in found if n.points))
    seen = ((_node(n), n.newest.tick.wall) for n in found if n.newest is not None)
    yield from _family(_SEEN, seen)
    lines: dict[Family, list[str]] = {family: [] for family in FAMILIES.values()}
    lines |= {_TOTAL: [], _LIMIT: []}

    def put(family: Family, where: Labels, value: float | None) -> None:
        if value is not None and family.takes(value):
            lines[family].append(family.sample(where, value))

    for node in found:
        if node.newest is None or not node.current:
            continue
        for name, value in known_values(node.newest.tick.host).items():
            put(FAMILIES[name], _node(node), value)
        table = {info.index: info for info in node.gpus}
        seldom = _seldom(node)
        for gpu in _once(node.newest.tick.gpus or ()):
            info = table.get(gpu.index)
            where = _gpu(node, gpu, info)
            values = known_values(gpu)
            if values:  # of a GPU that was lost nothing is known now
                values = seldom.get(gpu.index, {}) | values
            for name, value in values.items():
                put(FAMILIES[name], where, value)
            put(_TOTAL, where, info.memory_total_mib if info else None)
            put(_LIMIT, where, info.power_limit_w if info else None)
    for family, samples in lines.items():
        if samples:
            yield family.head()
            yield from samples


def _family(family: Family, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    lines = [family.sample(where, value) for where, value in samples]
    if lines:
        yield family.head()
        yield from lines


def _seldom(node: NodeNow) -> dict[int, dict[str, Value]]:
    """What takes the driver long, and is asked now and then, as last told; by the GPU's number."""
    found: dict[int, dict[str, Value]] = {}
    for point in node.points[-LOOK_BACK:]:
        for gpu in point.tick.gpus or ():
            values = known_values(gpu)
            kept = found.setdefault(gpu.index, {})
            kept.update({name: values[name] for name in SELDOM if name in values})
    return found


def _once(gpus: Iterable[GpuSample]) -> Iterable[GpuSample]:
    """Each GPU once: a damaged line may name one twice, which readers refuse."""
    return {gpu.index: gpu for gpu in gpus}.values()


def _node(node: NodeNow) -> Labels:
    return [("node", node.node)]


def _gpu(node: NodeNow, gpu: GpuSample, info: GpuInfo | None) -> Labels:
    found = [*_node(node), ("gpu", str(gpu.index))]
    return [*found, ("uuid", info.uuid)] if info and info.uuid is not None else found
