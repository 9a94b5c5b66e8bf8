"""Judges whole made-up jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monitors.analysis.analysis import Analysis, JobContext, analyse_folder
from monitors.analysis.finding import Finding
from tests.monitors import traces
from tests.monitors.traces import LOAD_S, STEP_S, Values

SECONDS = 400
FIXES = {"data": "more workers", "slow-peer": "leave it out"}


def job(
    folder: Path,
    gpu: traces.GpuFault = lambda _node, _index, _t: {},
    host: traces.HostFault = lambda _node, _t: {},
    *,
    nodes: int = 2,
    gpus: int = 4,
    seconds: int = SECONDS,
    transport: str | None = None,
    roles: Mapping[str, str] | None = None,
    **events: Any,
) -> Analysis:
    traces.record(folder, nodes=nodes, gpus=gpus, seconds=seconds, gpu=gpu, host=host)
    context = JobContext(
        events=tuple(traces.events(seconds, **events)),
        fixes=FIXES,
        transport=transport,
        roles=roles or {},
    )
    return analyse_folder(folder, context)


def only(found: Analysis) -> Finding:
    assert len(found.findings) == 1, [finding.headline for finding in found.findings]
    (finding,) = found.findings
    assert finding.evidence.strip(" .")
    assert finding.cause.endswith(".")
    assert finding.fix
    return finding


def in_training(fault: Callable[[str, int, int], Values]) -> traces.GpuFault:
    return lambda node, index, t: fault(node, index, t) if t >= LOAD_S else {}


def part(t: int, share: float) -> bool:
    """Whether second t lies in the first part of its step."""
    return (t - LOAD_S) % STEP_S < share * STEP_S


def spins(share: float, spared: tuple[str, int] = ("", 0)) -> traces.GpuFault:
    return in_training(
        lambda n, i, t: {"power_w": 130.0} if part(t, share) and (n, i) != spared else {}
    )
