"""What is wrong with nodes and GPUs right now, by the newest samples."""

from __future__ import annotations

from collections.abc import Sequence

from hpclaunch.watch.figures import age, gpus
from hpclaunch.watch.frame import Frame
from monitors.storage.live import NodeNow

NEAR = 0.95
"""Share of the memory from which a node counts as full."""
NOTE_S = 600.0
"""Seconds for which a sidecar's note is shown."""
_NAMED = 4
_STARTING_S = 30.0
"""Seconds that a sidecar may take to begin, from the start of the ranks."""


def trouble(frame: Frame) -> tuple[str, ...]:
    """Return a line for each problem, the gravest first."""
    lines = []
    if frame.state == "running":
        silent = [node for node in frame.nodes if node.silent]
        if silent:
            ages = [f"{node.node} for {age(node.age_s)}" for node in silent]
            lines.append(f"no samples from {_several(ages)}")
        begun = frame.started is not None and frame.at - frame.started > _STARTING_S
        if frame.absent and begun:
            lines.append(f"no samples yet from {_several(frame.absent)}")
    lines += [
        line for node in frame.nodes if node.current for line in _of_node(node, frame.on_gpus)
    ]
    return tuple(lines)


def _of_node(node: NodeNow, on_gpus: bool) -> list[str]:
    tick = node.newest.tick if node.newest else None
    if tick is None:
        return []
    lines, host = [], tick.host
    if host.oom_kills:
        lines.append(
            f"{node.node}: the kernel killed {host.oom_kills} processes of the job for memory (OOM)"
        )
    used, limit = memory(node)
    if used is not None and limit and used >= NEAR * limit:
        lines.append(f"{node.node}: memory is {used / limit:.0%} full")
    all_gpus = gpus(node)
    lost = [str(gpu.index) for gpu in all_gpus if gpu.sample is None]
    if lost:
        which = "its GPUs do" if len(lost) == len(all_gpus) else f"GPU {', '.join(lost)} does"
        lines.append(f"{node.node}: {which} not answer")
    problem = node.start.gpu_problem if node.start else None
    if on_gpus and problem and not node.gpus:
        lines.append(f"{node.node}: no GPU is sampled: {problem}")
    recent = [note.text for note in node.notes if 0 <= tick.wall - note.wall < NOTE_S]
    # A job on CPUs has no use for the driver that is not there.
    recent = [text for text in recent if on_gpus or not text.startswith("no GPU is sampled")]
    return lines + [f"{node.node}: {text}" for text in recent[-2:]]


def memory(node: NodeNow) -> tuple[float | None, float | None]:
    """Return memory used and its limit in MiB: the job's where it has a limit, else the node's."""
    if node.newest is None:
        return None, None
    host = node.newest.tick.host
    if host.cgroup_mem_mib is not None and host.cgroup_limit_mib:
        return host.cgroup_mem_mib, host.cgroup_limit_mib
    return host.mem_used_mib, host.mem_total_mib


def _several(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {rest} more" if rest > 0 else shown
