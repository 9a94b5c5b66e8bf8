"""Rows of the screen that are no tables: a node's own values, and the nodes without room."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from hpclaunch.watch.columns import MOST_CURVE
from hpclaunch.watch.figures import (
    Gpu,
    add_up,
    age,
    gib,
    gpus,
    percent,
    pressure,
    rate,
    traffic,
    watts,
)
from hpclaunch.watch.history import history
from hpclaunch.watch.sparkline import Glyphs, spark
from hpclaunch.watch.styles import BAD, OLD, STRONG, WARN, clean
from hpclaunch.watch.trouble import NEAR, memory
from monitors.storage.live import NodeNow


def not_current(node: NodeNow) -> str:
    """Return why the values of a node are not current; '' where they are."""
    if not node.points:
        return "no samples yet"
    if node.end is not None:
        return f"sampling ended {age(node.age_s)} ago ({clean(node.end.reason)})"
    return f"no samples for {age(node.age_s)}" if node.silent else ""


def stale_row(node: NodeNow, name_width: int) -> Text:
    """Return the row of a node whose values are not current."""
    style = OLD if node.end or not node.points else BAD
    row = Text(f"{clean(node.node):<{name_width}}", style=STRONG)
    return row.append(f" {not_current(node)}", style=f"not bold {style}")


def host_row(node: NodeNow, name_width: int, width: int, glyphs: Glyphs) -> Text:
    """Return a node's own values in one row: CPUs, memory, network and pressure."""
    if not_current(node):
        row = stale_row(node, name_width)
        row.append("; its last values:" if node.points and gpus(node) else "", style=OLD)
        return row
    row = Text(f"{clean(node.node):<{name_width}}", style=STRONG)
    point = node.points[-1]
    used, limit = memory(node)
    full = used is not None and bool(limit) and used >= NEAR * (limit or 0)
    received, sent = traffic(point)
    tail = Text(f"  memory {gib(used)}/{gib(limit)} GiB", style=BAD if full else "")
    network = f"  network in {rate(received)}, out {rate(sent)}"
    tail.append(network if received is not None or sent is not None else "", style="not bold")
    for what, value in pressure(node):
        tail.append(f"  {what} pressure {percent(value).strip()}", style=WARN)
    left = width - row.cell_len - tail.cell_len - len(" cpu 100% ")
    row.append(f" cpu {percent(point.tick.host.cpu_busy_pct)} ", style="not bold")
    cpu = history(node, lambda p: p.tick.host.cpu_busy_pct, min(MOST_CURVE, max(0, left)))
    row.append(spark(cpu, 0, 100, glyphs), style="cyan not bold")
    row.append_text(tail)
    return row


def rest(nodes: Sequence[NodeNow], glyphs: Glyphs) -> Text:
    """Return the nodes for which there is no room in one row."""
    sums = add_up(nodes)
    text = f"{glyphs.more} {sums.nodes} more node{'s' if sums.nodes > 1 else ''}"
    parts = []
    if sums.sm_pct is not None:
        low = f", lowest {sums.lowest[0]:.0f}% ({_named(sums.lowest[1])})" if sums.lowest else ""
        parts.append(f"gpu {percent(sums.sm_pct).strip()}{low}")
    if sums.power_w is not None:
        parts.append(watts(sums.power_w))
    if sums.cpu_pct is not None:
        parts.append(f"cpu {percent(sums.cpu_pct).strip()}")
    if sums.unknown:
        parts.append(f"{sums.unknown} without current values")
    return Text(clean(f"{text}: {'; '.join(parts)}" if parts else text))


def _named(gpu: Gpu) -> str:
    return f"{gpu.node} GPU {gpu.index}"
