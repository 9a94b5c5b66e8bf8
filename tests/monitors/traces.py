"""Recordings of whole made-up jobs, as the sidecars would have left them, healthy or with a fault.

The healthy job: every GPU busy near its power limit, a step every ten seconds, a checkpoint every
thirty steps, memory four fifths full. A test changes what it wants to see found.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monitors.external import vmstat
from monitors.records import End, GpuInfo, GpuSample, HostSample, OwnCost, Start, Tick
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from tests.monitors.recorded import MONO, NOON

LIMIT_W = 400.0
CARD_MIB = 81920.0
STEP_S = 10
LOAD_S = 40

IDLE_ROW = tuple(88 if name == "id" else 12 if name == "us" else 0 for name in vmstat.COLUMNS)

Values = dict[str, Any]
GpuFault = Callable[[str, int, int], Values]
"""Changed values of GPU number i of a node at second t: (node, i, t)."""
HostFault = Callable[[str, int], Values]


def node_name(number: int) -> str:
    return f"n{number + 1}"


def gpu_info(number: int, index: int) -> GpuInfo:
    uuid = f"GPU-{number:04d}-{index}"
    return GpuInfo(index, uuid, "NVIDIA A100-SXM4-80GB", f"0000:{index:02x}", CARD_MIB, LIMIT_W)


def healthy_gpu(index: int, t: int, dice: random.Random) -> Values:
    if t < LOAD_S:
        return {"sm_pct": 0, "power_w": 62.0, "memory_used_mib": 900.0, "sm_clock_mhz": 210}
    return {
        "sm_pct": min(100, 97 + dice.randrange(4)),
        "power_w": round(345 + dice.random() * 40, 1),
        "memory_used_mib": 66_000.0 + 10 * dice.randrange(8),
        "sm_clock_mhz": 1395 + 15 * dice.randrange(2),
        "temperature_c": 58 + index + dice.randrange(3),
    }


def healthy_host(t: int, dice: random.Random) -> Values:
    return {
        "cpu_busy_pct": round(11 + 3 * dice.random(), 1),
        "cpu_iowait_pct": round(0.2 * dice.random(), 1),
        "mem_used_mib": 90_000.0 + 20 * t,
        "mem_total_mib": 512_000.0,
        "swap_used_mib": 0.0,
        "net_rx_bytes": 300_000 * t,
        "net_tx_bytes": 280_000 * t,
        "ib_rx_bytes": 6_000_000_000 * t,
        "ib_tx_bytes": 6_000_000_000 * t,
        "psi_cpu_pct": 0.4,
        "psi_memory_pct": 0.0,
        "psi_io_pct": 0.3,
        "cgroup_mem_mib": 60_000.0,
        "cgroup_limit_mib": 256_000.0,
        "cgroup_cpu_s": 5.0 * t,
        "cgroup_throttled_s": 0.0,
    }


def record(
    folder: Path,
    *,
    nodes: int = 2,
    gpus: int = 4,
    seconds: int = 600,
    gpu: GpuFault = lambda _node, _index, _t: {},
    host: HostFault = lambda _node, _t: {},
    seed: int = 1,
) -> Path:
    """Write the files of every node into `folder`; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(nodes):
        node, dice = node_name(number), random.Random(seed + number)  # noqa: S311
        infos = tuple(gpu_info(number, index) for index in range(gpus))
        lines = [json_lines.line(Start(node, NOON, MONO, "UTC", 0, 1.0, infos, None))]
        for t in range(seconds):
            values = {**healthy_host(t, dice), **host(node, t)}
            rows = tuple(
                GpuSample(index, **{**healthy_gpu(index, t, dice), **gpu(node, index, t)})
                for index in range(gpus)
            )
            moment = t + 1 + dice.uniform(0, 0.003)
            known = {name: value for name, value in values.items() if value is not None}
            wall, mono = round(NOON + moment, 3), round(MONO + moment, 3)
            tick = Tick(t, wall, mono, HostSample(**known), rows, None, IDLE_ROW)
            lines.append(json_lines.line(tick))
        end = End(NOON + seconds, "SIGTERM", seconds, 0, OwnCost(0.002 * seconds, 21_000))
        lines.append(json_lines.line(end))
        filenames.path_of(folder, node, filenames.SAMPLES).write_text("".join(lines))
    return folder


def events(
    seconds: int = 600, *, checkpoint_s: float = 4.0, every: int = 30, waited: float | None = 0.05
) -> list[dict[str, Any]]:
    """What rank 0 of such a job events."""
    at = NOON
    found: list[dict[str, Any]] = [
        {"time": at + 8, "event": "start", "world": 8, "device": "gpu"},
        {"time": at + LOAD_S - 4, "event": "load", "seconds": 26.0, "parameters": 8 * 10**9},
        {"time": at + LOAD_S, "event": "data", "seconds": 3.0, "tokens": 10**6},
    ]
    at += LOAD_S
    step, extra = 0, 0.0
    total = int((seconds - LOAD_S - 5) / STEP_S)
    while at + STEP_S + extra < NOON + seconds - 5:
        step += 1
        at += STEP_S + extra
        event = {
            "time": at,
            "event": "step",
            "step": step,
            "total": total,
            "seconds": STEP_S + extra,
            "tokens": 131_072,
            "loss": round(0.9 + 1.5 / step**0.5 + 0.02 * (step % 3), 4),
        }
        found.append(event if waited is None else {**event, "waited": waited})
        extra = 0.0
        if step % every == 0 and at + checkpoint_s < NOON + seconds - 5:
            saved = at + checkpoint_s
            found.append(
                {"time": saved, "event": "checkpoint", "step": step, "seconds": checkpoint_s}
            )
            extra = checkpoint_s
    found.append({"time": at + 3, "event": "end", "step": step, "outcome": "done"})
    return found
