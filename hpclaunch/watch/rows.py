"""Rows of the screen: one line for a node, or for some of its GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from hpclaunch.watch.figures import (
    NONE,
    Gpu,
    add_up,
    age,
    gib,
    gpu_value,
    gpus,
    lately,
    mean,
    percent,
    pressure,
    speed,
    total,
    traffic,
    watts,
)
from hpclaunch.watch.sparkline import Glyphs, buckets, spark
from hpclaunch.watch.trouble import NEAR, memory
from monitors.storage.live import HISTORY_S, NodeNow, Point

OLD, BAD, WARN, STRONG, QUIET = "dim", "bold red", "yellow", "bold", "dim"
WIDE_LEAST = 61
"""Columns of a GPU with its curves."""
NARROW_LEAST = 24
_MOST_CURVE = 60
_LEAST_CURVE = 10


def clean(text: str) -> str:
    """Leave out what would move the cursor or colour the screen: files hold anything."""
    return "".join(c if c.isprintable() else "?" for c in text)


def sign_of_life(node: NodeNow) -> str:
    """Say why the figures of a node are not of now; '' where they are."""
    if not node.points:
        return "no samples yet"
    if node.end is not None:
        return f"sampling ended {age(node.age_s)} ago ({clean(node.end.reason)})"
    return f"no sign of life for {age(node.age_s)}" if node.silent else ""


def history(node: NodeNow, pick: Callable[[Point], float | None], cells: int) -> list[float | None]:
    """Return the last minutes of a value in so many parts."""
    # A part must not be shorter than the time between two samples: it would be blank.
    span = max(HISTORY_S, cells * node.interval_s) if cells else HISTORY_S
    return buckets(node.points, pick, cells, span)


def host_row(node: NodeNow, name_width: int, width: int, glyphs: Glyphs) -> Text:
    """Return a node's own figures in a line."""
    row = Text(f"{clean(node.node):<{name_width}}", style=STRONG)
    told = sign_of_life(node)
    if told:
        row.append(f" {told}", style=OLD if node.end or not node.points else BAD)
        row.append("; its last figures:" if node.points and gpus(node) else "", style=OLD)
        return row
    point = node.points[-1]
    used, limit = memory(node)
    full = used is not None and bool(limit) and used >= NEAR * (limit or 0)
    come, go = traffic(point)
    tail = Text(f"  memory {gib(used)}/{gib(limit)} GiB", style=BAD if full else "")
    way = f"  network in {speed(come)}, out {speed(go)}"
    tail.append(way if come is not None or go is not None else "", style="not bold")
    for what, value in pressure(node):
        tail.append(f"  waits for {what} {percent(value).strip()}", style=WARN)
    left = width - row.cell_len - tail.cell_len - len(" cpu 100% ")
    row.append(f" cpu {percent(point.tick.host.cpu_busy_pct)} ", style="not bold")
    cells = min(_MOST_CURVE, max(0, left))
    cpu = history(node, lambda p: p.tick.host.cpu_busy_pct, cells)
    row.append(spark(cpu, 0, 100, glyphs), style="cyan not bold")
    row.append_text(tail)
    return row


def gpu_cell(node: NodeNow, gpu: Gpu, width: int, glyphs: Glyphs) -> Text:
    """Return a GPU with the curves of its use and power, in `width` columns."""
    old = OLD if not node.current else ""
    cell = Text(f"{gpu.index:>3} ", style=old)
    sample, info = gpu.sample, gpu.info
    if sample is None:
        return _filled(cell.append("does not answer", style=old or BAD), width)
    heat = sample.temperature_c
    temperature = NONE if heat is None else f"{_number(heat)}{glyphs.degree}C"
    limit, size = info.power_limit_w if info else None, info.memory_total_mib if info else None
    power = f" {_number(sample.power_w)}/{_number(limit)} W "
    held = f" {gib(sample.memory_used_mib)}/{gib(size)} GiB {temperature:>5}"
    inner = _inner(node, gpu)
    left = width - 4 - len("was 100% ") - 11 - 20 - 4
    inner = inner if width - len(inner) >= WIDE_LEAST else ""
    left -= len(inner)
    cells = min(_MOST_CURVE, max(0, left // 2))
    cell.append(f"{'was' if old else 'sm':<4}{percent(sample.sm_pct)} ")
    busy = history(node, lambda p: gpu_value(p, gpu.index, "sm_pct"), cells)
    cell.append(spark(busy, 0, 100, glyphs), style=old or "green")
    cell.append(f"{power:>11}")
    drawn = history(node, lambda p: gpu_value(p, gpu.index, "power_w"), cells)
    known = [value for value in drawn if value is not None]
    cell.append(spark(drawn, 0, limit or max(known, default=1.0), glyphs), style=old or "magenta")
    cell.append(f"{held:>20}")
    cell.append(inner, style=old)
    if gpu.hot:
        cell.append(" hot", style=old or BAD)
    return _filled(cell, width)


def _inner(node: NodeNow, gpu: Gpu) -> str:
    """Return what newer cards tell: how busy the tensor cores are, and what goes over NVLink."""
    tensor = lately(node, gpu.index, "tensor_active_pct")
    ways = [lately(node, gpu.index, f"nvlink_{way}_mb_s") for way in ("rx", "tx")]
    told = f" tensor{percent(tensor)}" if tensor is not None else ""
    return told + (f" nvlink {speed(total(ways)):>8}" if total(ways) is not None else "")


def small_cell(node: NodeNow, gpu: Gpu, width: int, glyphs: Glyphs) -> Text:
    """Return a GPU's use with its curve, power in W and memory in GiB, in few columns."""
    old = OLD if not node.current else ""
    cell = Text(f"{gpu.index:>2} ", style=old)
    if gpu.sample is None:
        return _filled(cell.append("does not answer", style=old or BAD), width)
    cells = min(_MOST_CURVE, max(0, width - NARROW_LEAST + 4))
    busy = history(node, lambda p: gpu_value(p, gpu.index, "sm_pct"), cells)
    cell.append(spark(busy, 0, 100, glyphs), style=old or "green")
    cell.append(percent(gpu.sample.sm_pct))
    hot = gpu.hot and not old
    cell.append(f" {_number(gpu.sample.power_w):>4}W", style=BAD if hot else "")
    cell.append(f"{gib(gpu.sample.memory_used_mib):>6}G")
    return _filled(cell, width)


def strip(node: NodeNow, name_width: int, width: int, glyphs: Glyphs) -> Text:
    """Return a whole node in a line: what does not fit is left out from the end."""
    row = Text(f"{clean(node.node):<{name_width}}", style=STRONG)
    told = sign_of_life(node)
    if told:
        return row.append(f" {told}", style=OLD if node.end or not node.points else BAD)
    found, point = add_up([node]), node.points[-1]
    parts: list[tuple[str, str]] = []
    cards = gpus(node)
    if cards:
        values = [gpu.sample.sm_pct if gpu.sample else None for gpu in cards]
        parts.append((f" {spark(values, 0, 100, glyphs)}", "green"))
        parts.append((f" sm {percent(found.sm_pct)}", ""))
        missing = sum(gpu.sample is None for gpu in cards)
        if missing:
            parts.append((f" {missing} of {len(cards)} do not answer", BAD))
        if any(gpu.hot for gpu in cards):
            parts.append((" hot", BAD))
        parts.append((f" {watts(found.power_w):>8}", ""))
        held = f"{gib(found.used_mib)}/{gib(found.total_mib)}"
        parts.append((f" {held:>11} GiB", ""))
    parts.append((f"  cpu {percent(point.tick.host.cpu_busy_pct)}", ""))
    parts += [(f" waits for {what} {percent(v).strip()}", WARN) for what, v in pressure(node)]
    used, limit = memory(node)
    parts.append((f"  memory {f'{gib(used)}/{gib(limit)}':>11} GiB", ""))
    moved = total(traffic(point))
    if moved is not None:
        parts.append((f"  network {speed(moved):>8}", ""))
    for text, style in parts:
        if row.cell_len + len(text) > width:
            return row
        row.append(text, style=f"not bold {style}".strip())
    left = width - row.cell_len - 2
    if cards and left >= _LEAST_CURVE:
        busy = history(node, _mean_use, min(_MOST_CURVE, left))
        row.append(f"  {spark(busy, 0, 100, glyphs)}", style="not bold green")
    return row


def _mean_use(point: Point) -> float | None:
    return mean(gpu.sm_pct for gpu in point.tick.gpus or ())


def rest(nodes: Sequence[NodeNow], glyphs: Glyphs) -> Text:
    """Return the nodes for which there is no room, in a line."""
    found = add_up(nodes)
    text = f"{glyphs.more} {found.nodes} more node{'s' if found.nodes > 1 else ''}"
    parts = []
    if found.sm_pct is not None:
        low = f", lowest {found.lowest[0]:.0f}% ({_named(found.lowest[1])})" if found.lowest else ""
        parts.append(f"sm {percent(found.sm_pct).strip()}{low}")
    if found.power_w is not None:
        parts.append(watts(found.power_w))
    if found.cpu_pct is not None:
        parts.append(f"cpu {percent(found.cpu_pct).strip()}")
    if found.unknown:
        parts.append(f"{found.unknown} without figures of now")
    return Text(clean(f"{text}: {'; '.join(parts)}" if parts else text))


def _named(gpu: Gpu) -> str:
    return f"{gpu.node} GPU {gpu.index}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{min(99999.0, max(-999.0, value)):.0f}"


def _filled(cell: Text, width: int) -> Text:
    cell.truncate(width, overflow="crop", pad=True)
    return cell
