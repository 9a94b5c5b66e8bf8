"""Writes a node's files as the sidecar would, from values a test chooses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from monitors.external import dmon, vmstat
from monitors.records import (
    End,
    GpuInfo,
    GpuSample,
    HostSample,
    OwnCost,
    Record,
    Start,
    Tick,
)
from monitors.storage import filenames
from monitors.storage.formats import json_lines

NOON = 1_790_000_000.0
"""A moment to begin at: 2026-09-21 14:13:20 UTC."""
MONO = 5_000.0
GPU_A = GpuInfo(0, "GPU-aaaa", "NVIDIA A100-SXM4-80GB", "00000000:07:00.0", 81920, 400)
GPU_B = GpuInfo(1, "GPU-bbbb", "NVIDIA A100-SXM4-80GB", "00000000:0B:00.0", 81920, 400)


def start(
    *gpus: GpuInfo, after: float = 0, problem: str | None = None, offset: int = 0, node: str = "n1"
) -> Start:
    return Start(node, NOON + after, MONO + after, "UTC", offset, 1.0, gpus, problem)


def tick(
    n: int,
    *gpus: GpuSample,
    host: HostSample | None = None,
    silent: bool = False,
    after: float = 0,
    own: OwnCost | None = None,
) -> Tick:
    """Tick `n` of a recording that began `after` seconds after noon; on time to the millisecond."""
    moment = after + n + 1
    return Tick(
        n, NOON + moment, MONO + moment, host or HostSample(), None if silent else gpus, own
    )


def end(after: float, ticks: int, cpu_s: float = 0.1, lost: int = 0) -> End:
    return End(NOON + after, "SIGTERM", ticks, 0, OwnCost(cpu_s, 20_480), lost)


def write_samples(folder: Path, records: Iterable[Record], node: str = "n1") -> Path:
    path = filenames.path_of(folder, node, filenames.SAMPLES)
    path.write_text("".join(map(json_lines.line, records)))
    return path


def write_dmon(folder: Path, rows: Iterable[tuple[float, GpuSample]], node: str = "n1") -> Path:
    path = filenames.path_of(folder, node, filenames.DMON)
    path.write_text(dmon.header() + "".join(dmon.row(NOON + at, gpu) for at, gpu in rows))
    return path


def write_vmstat(folder: Path, rows: Iterable[tuple[float, dict[str, int]]]) -> Path:
    path = filenames.path_of(folder, "n1", filenames.VMSTAT)
    zeros = dict.fromkeys(vmstat.COLUMNS, 0)
    body = "".join(vmstat.row(NOON + at, zeros | values) for at, values in rows)
    path.write_text(vmstat.header(NOON) + body)
    return path
