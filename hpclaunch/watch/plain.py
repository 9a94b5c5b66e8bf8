"""A frame for a pipe: one line, or one JSON object."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from hpclaunch.diagnose.activity import to_dict as activity_to_dict
from hpclaunch.units import count, duration
from hpclaunch.watch.figures import add_up, gib, gpus, percent, pressure, traffic, watts
from hpclaunch.watch.frame import Frame
from monitors.storage.live import NodeNow


def line(frame: Frame) -> str:
    """Return a frame in one line of text, without a line end."""
    progress = frame.progress
    parts = [time.strftime("%H:%M:%S", time.localtime(frame.at)), frame.state]
    if frame.hang:
        parts.append("; ".join((frame.hang, *(frame.activity.ranks if frame.activity else ()))))
    elif frame.phase:
        parts.append(frame.phase)
    if progress.step is not None:
        parts.append(f"step {count(progress.step)} of {count(progress.total)}")
        if progress.loss is not None:
            parts.append(f"loss {progress.loss:.4f}")
        if progress.metrics:
            parts.append(progress.metrics)
        parts.append(f"{count(progress.tokens_per_second)} tokens/s")
        if frame.state == "running":
            parts.append(f"{duration(frame.seconds_left)} left")
    if progress.checkpoint is not None:
        parts.append(f"checkpoint {count(progress.checkpoint)}")
    if progress.restarts:
        parts.append(f"{progress.restarts} restarts")
    if frame.active and frame.nodes:
        parts += _sums(frame)
    parts += [text for text in (frame.why, *frame.trouble) if text]
    text = "  ".join(parts)
    return "".join(c if c.isprintable() else "?" for c in text)


def _sums(frame: Frame) -> list[str]:
    found = add_up(frame.nodes)
    parts = [f"{found.nodes - found.unknown} of {found.nodes + len(frame.absent)} nodes"]
    if found.gpus:
        parts.append(f"{found.gpus} GPUs {percent(found.sm_pct).strip()} busy")
        parts += [watts(found.power_w), f"{gib(found.used_mib)}/{gib(found.total_mib)} GiB"]
    return [*parts, f"cpu {percent(found.cpu_pct).strip()}"]


def to_dict(frame: Frame) -> dict[str, Any]:
    """Return a frame for a script. Units are in the names; unknown values are null or left out."""
    progress = asdict(frame.progress) | {"seconds_left": frame.seconds_left}
    return {
        "time": round(frame.at, 3),
        "run": frame.name,
        "state": frame.state,
        "reason": frame.reason,
        "ended": frame.ended,
        "job_id": frame.job_id,
        "time_left": frame.time_left,
        "why": frame.why,
        "before": frame.before,
        "left_out": frame.left_out,
        **activity_to_dict(frame.activity),
        "seconds_left": frame.seconds_left,
        "progress": progress,
        "checkpoint_age_s": _rounded(frame.checkpoint_age_s),
        "trouble": frame.trouble,
        "nodes": [_node(node) for node in frame.nodes],
        "server_node": frame.server or None,
        "nodes_without_samples": frame.absent,
        "nodes_of_earlier_attempts": frame.earlier,
    }


def _node(node: NodeNow) -> dict[str, Any]:
    values: dict[str, Any] = {
        "node": node.node,
        "current": node.current,
        "silent": node.silent,
        "age_s": _rounded(node.age_s),
        "sampling_ended": node.end.reason if node.end else None,
    }
    point = node.newest
    if point is None:
        return values
    received, sent = traffic(point)
    values |= {
        "sampled": point.tick.wall,
        "host": _known(asdict(point.tick.host)),
        "traffic_in_mb_s": _rounded(received),
        "traffic_out_mb_s": _rounded(sent),
        "pressure_pct": dict(pressure(node)),
        "gpus": [],
    }
    for gpu in gpus(node):
        info = _known(asdict(gpu.info)) if gpu.info else {}
        sample = _known(asdict(gpu.sample)) if gpu.sample else {}
        values["gpus"].append(info | {"index": gpu.index, "answers": bool(gpu.sample)} | sample)
    return values


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
