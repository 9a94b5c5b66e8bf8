"""The columns of the rows of whole nodes. To show another value, add a Column here.

Every Column has its head with the unit, its width in characters, and a function that returns a
cell. Those that have a `value` can be sorted by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from hpclaunch.watch.columns import Column
from hpclaunch.watch.figures import (
    add_up,
    gib,
    gpus,
    mean,
    percent,
    pressure,
    rate,
    total,
    traffic,
    watts,
)
from hpclaunch.watch.history import history
from hpclaunch.watch.sparkline import Glyphs, spark
from hpclaunch.watch.styles import BAD, STRONG, WARN, clean
from hpclaunch.watch.trouble import NEAR, memory
from monitors.storage.live import NodeNow, Point

_MOST_NAME = 24
_MOST_GPUS = 16
_MOST_ALERTS = 32


def name_width(nodes: Sequence[NodeNow]) -> int:
    """Return the characters of the longest name, as far as names are shown."""
    return min(_MOST_NAME, max((len(clean(node.node)) for node in nodes), default=0))


def utilization(node: NodeNow) -> float | None:
    """Return the mean GPU utilization of a node in percent."""
    return add_up([node]).sm_pct


def _text(write: Callable[[NodeNow], str]) -> Callable[[NodeNow, int, Glyphs], Text]:
    """Return the cells of a column of plain text."""

    def cell(node: NodeNow, width: int, glyphs: Glyphs) -> Text:
        return Text(write(node))

    return cell


def _name(node: NodeNow, width: int, glyphs: Glyphs) -> Text:
    return Text(clean(node.node), style=STRONG)


def _each_gpu(node: NodeNow, width: int, glyphs: Glyphs) -> Text:
    """Return the utilization of every GPU, a character each."""
    values = [gpu.sample.sm_pct if gpu.sample else None for gpu in gpus(node)]
    return Text(spark(values, 0, 100, glyphs), style="green")


def _curve(node: NodeNow, width: int, glyphs: Glyphs) -> Text:
    return Text(spark(history(node, _mean_utilization, width), 0, 100, glyphs), style="green")


def _mean_utilization(point: Point) -> float | None:
    return mean(gpu.sm_pct for gpu in point.tick.gpus or ())


def _cpu(node: NodeNow) -> float | None:
    return node.newest.tick.host.cpu_busy_pct if node.newest else None


def _gpu_memory(node: NodeNow) -> str:
    found = add_up([node])
    return f"{gib(found.used_mib)}/{gib(found.total_mib)}"


def _memory(node: NodeNow, width: int, glyphs: Glyphs) -> Text:
    used, limit = memory(node)
    full = used is not None and bool(limit) and used >= NEAR * (limit or 0)
    return Text(f"{gib(used)}/{gib(limit)}", style=BAD if full else "")


def _network(node: NodeNow) -> float | None:
    return total(traffic(node.newest)) if node.newest else None


def alerts(node: NodeNow) -> list[tuple[str, str]]:
    """Return what is wrong on a node right now, each with its style."""
    found, all_gpus = [], gpus(node)
    missing = sum(gpu.sample is None for gpu in all_gpus)
    if missing:
        found.append((f"{missing} of {len(all_gpus)} do not answer", BAD))
    if any(gpu.hot for gpu in all_gpus):
        found.append(("hot", BAD))
    return found + [
        (f"{what} pressure {percent(value).strip()}", WARN) for what, value in pressure(node)
    ]


def _alerts(node: NodeNow, width: int, glyphs: Glyphs) -> Text:
    return Text(", ").join(Text(text, style=style) for text, style in alerts(node))


def _name_width(nodes: Sequence[NodeNow]) -> int:
    return max(len("node"), name_width(nodes))


def _alerts_width(nodes: Sequence[NodeNow]) -> int:
    lengths = [len(", ".join(text for text, _ in alerts(node))) for node in nodes]
    return min(_MOST_ALERTS, max(lengths, default=0))


def _gpus_width(nodes: Sequence[NodeNow]) -> int:
    return min(_MOST_GPUS, max([4, *(len(gpus(node)) for node in nodes)]))


def _has_gpus(node: NodeNow) -> bool:
    return bool(gpus(node))


NODE_COLUMNS: tuple[Column[NodeNow], ...] = (
    Column("node", _name_width, _name, left=True),
    Column("GPUs", _gpus_width, _each_gpu, left=True, known=_has_gpus),
    Column("gpu %", 5, _text(lambda node: percent(utilization(node))), known=_has_gpus,
           value=utilization, lowest_first=True),
    Column("power", 8, _text(lambda node: watts(add_up([node]).power_w)), rank=2, known=_has_gpus,
           value=lambda node: add_up([node]).power_w),
    Column("gpu GiB", 11, _text(_gpu_memory), rank=3, known=_has_gpus,
           value=lambda node: add_up([node]).used_mib),
    Column("cpu %", 5, _text(lambda node: percent(_cpu(node))), rank=1, value=_cpu),
    Column("memory GiB", 11, _memory, rank=4, value=lambda node: memory(node)[0]),
    Column("network", 8, _text(lambda node: rate(_network(node))), rank=5, value=_network,
           known=lambda node: _network(node) is not None),
    Column("alerts", _alerts_width, _alerts, rank=1, left=True,
           known=lambda node: bool(alerts(node))),
    Column("last 3 min", 10, _curve, rank=6, curve=True, known=_has_gpus),
)  # fmt: skip
"""From left to right."""

SORTS = tuple(column for column in NODE_COLUMNS if column.value is not None)
"""The columns that nodes can be sorted by."""
