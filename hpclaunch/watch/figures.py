"""Values of nodes and GPUs as text, and sums over many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hpclaunch.frozen import frozen
from hpclaunch.units import duration
from monitors.records import GpuInfo, GpuSample
from monitors.samples.fields import known_values
from monitors.storage.live import NodeNow, Point

NONE = "-"
"""Stands for an unknown value."""
HOT = 0x20 | 0x40
"""NVML's clock event reasons for heat."""
LATELY = 12
"""Ticks for which a value counts that is sampled only now and then."""
PRESSED_PCT = 10.0
"""Pressure (PSI some, percent) from which it is shown."""


@frozen
class Gpu:
    """A GPU of a node as last sampled."""

    node: str
    index: int
    info: GpuInfo | None
    sample: GpuSample | None
    """None where it did not answer."""

    @property
    def hot(self) -> bool:
        """Its clocks are held back for heat."""
        return bool(self.sample and (self.sample.throttle or 0) & HOT)


def gpus(node: NodeNow) -> list[Gpu]:
    """Return the GPUs of a node, those that were listed and those that were sampled."""
    sampled = node.newest.tick.gpus or () if node.newest else ()
    # A lost GPU is sampled with its index alone.
    samples = {sample.index: sample if known_values(sample) else None for sample in sampled}
    infos = {info.index: info for info in node.gpus}
    return [Gpu(node.node, i, infos.get(i), samples.get(i)) for i in sorted({*infos, *samples})]


def gpu_value(point: Point, index: int, name: str) -> float | None:
    """Return a GPU's value by its name in GpuSample."""
    for sample in point.tick.gpus or ():
        if sample.index == index:
            found: float | None = getattr(sample, name)
            return found
    return None


def lately(node: NodeNow, index: int, name: str) -> float | None:
    """Return the last known of a GPU's values that are not sampled at every tick."""
    for point in reversed(node.points[-LATELY:]):
        value = gpu_value(point, index, name)
        if value is not None:
            return value
    return None


def traffic(point: Point) -> tuple[float | None, float | None]:
    """Return MB/s received and sent, network and InfiniBand together."""
    ways = (point.net_rx_mb_s, point.ib_rx_mb_s), (point.net_tx_mb_s, point.ib_tx_mb_s)
    received, sent = (total(way) for way in ways)
    return received, sent


def total(values: Iterable[float | None]) -> float | None:
    """Add up what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def percent(value: float | None) -> str:
    """Return ` 98%`, in four characters."""
    return f"{NONE:>4}" if value is None else f"{_bounded(value):>3.0f}%"


def number(value: float | None) -> str:
    """Return a whole number of at most five characters."""
    return NONE if value is None else f"{min(99999.0, max(-999.0, value)):.0f}"


def watts(value: float | None) -> str:
    """Return `365 W`, `12.4 kW`, `1.2 MW`."""
    if value is None:
        return NONE
    if value < 1000:
        return f"{value:.0f} W"
    return f"{value / 1000:.1f} kW" if value < 1e6 else f"{_bounded(value / 1e6):.1f} MW"


def gib(mib: float | None) -> str:
    """Return MiB as GiB, without the unit: `0.9`, `64.5`, `512`, `10,240`."""
    if mib is None:
        return NONE
    value = _bounded(mib / 1024)
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def rate(mb_s: float | None) -> str:
    """Return MB/s as `0`, `12 KB/s`, `3.4 MB/s`, `1.2 GB/s`."""
    if mb_s is None:
        return NONE
    for size, unit in ((1e3, "GB/s"), (1.0, "MB/s"), (1e-3, "KB/s")):
        if mb_s >= size:
            value = _bounded(mb_s / size)
            return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
    return "0"


def age(seconds: float | None) -> str:
    """Return whole seconds, minutes or hours: what ticks once a second needs no more."""
    whole = None if seconds is None else max(0, round(seconds))
    return f"{whole} s" if whole is not None and whole < 10 else duration(whole)


def pressure(node: NodeNow) -> list[tuple[str, float]]:
    """Return the pressures of a node that are worth showing: of what, and PSI some in percent."""
    if node.newest is None:
        return []
    host = node.newest.tick.host
    found = (
        ("CPU", host.psi_cpu_pct),
        ("memory", host.psi_memory_pct),
        ("I/O", host.psi_io_pct),
    )
    return [(what, value) for what, value in found if value is not None and value >= PRESSED_PCT]


@frozen
class Sum:
    """Many nodes in one line."""

    nodes: int
    gpus: int
    sm_pct: float | None
    lowest: tuple[float, Gpu] | None
    """The least busy GPU."""
    power_w: float | None
    used_mib: float | None
    total_mib: float | None
    cpu_pct: float | None
    unknown: int
    """Nodes without current values: silent, ended or not begun."""


def add_up(nodes: Sequence[NodeNow]) -> Sum:
    """Return the sums over nodes; only current values count."""
    now = [node for node in nodes if node.current]
    all_gpus = [gpu for node in now for gpu in gpus(node)]
    samples = [gpu.sample for gpu in all_gpus if gpu.sample is not None]
    busy = [(gpu.sample.sm_pct, gpu) for gpu in all_gpus
            if gpu.sample is not None and gpu.sample.sm_pct is not None]  # fmt: skip
    return Sum(
        nodes=len(nodes),
        gpus=len(all_gpus),
        sm_pct=mean(sample.sm_pct for sample in samples),
        lowest=min(busy, key=lambda pair: pair[0]) if busy else None,
        power_w=total(sample.power_w for sample in samples),
        used_mib=total(sample.memory_used_mib for sample in samples),
        total_mib=total(gpu.info.memory_total_mib if gpu.info else None for gpu in all_gpus),
        cpu_pct=mean(node.newest.tick.host.cpu_busy_pct for node in now if node.newest),
        unknown=len(nodes) - len(now),
    )


def _bounded(value: float) -> float:
    """Return a value within bounds: only damaged ones are beyond, and would widen a column."""
    return min(1e6, max(-1e6, value))
