"""Breaks a throwaway cluster in the ways that real ones break: links, nodes, daemons, processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.supervisor import HOLDER


def cut_link(cluster: ThrowawayCluster, node: str) -> None:
    """Pull a node's cable: nothing reaches it, nothing leaves it, and nobody is told."""
    _ip(cluster, "link", "set", node, "down")


def mend_link(cluster: ThrowawayCluster, node: str) -> None:
    """Put the cable back."""
    _ip(cluster, "link", "set", node, "up")


def slow_link(cluster: ThrowawayCluster, node: str, rate: str) -> None:
    """Let at most so much reach a node; `rate` as tc writes it: 50mbit."""
    words = ("qdisc", "replace", "dev", node, "root", "tbf", "rate", rate)
    done = cluster.inside("tc", *words, "burst", "64kb", "latency", "100ms")
    if done.returncode:
        raise RuntimeError(done.stderr)


def fast_link(cluster: ThrowawayCluster, node: str) -> None:
    """Take the limit away again."""
    cluster.inside("tc", "qdisc", "del", "dev", node, "root")


def kill_slurmd(cluster: ThrowawayCluster, node: str) -> None:
    """Kill a node's slurmd alone: its job steps live on, and nobody can tell them anything."""
    conf = str(cluster.place.slurm_conf).encode()
    for pid in _processes():
        words = _words(pid)
        if words[:1] == [b"slurmd"] and conf in words and node.encode() in words:
            os.kill(pid, signal.SIGKILL)


def power_off(cluster: ThrowawayCluster, node: str) -> None:
    """Kill everything on a node and pull its cable, so that no farewell gets out; needs links."""
    cut_link(cluster, node)
    holder = _holder(cluster, node)
    while others := [pid for pid in on_node(cluster, node) if pid != holder]:
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def power_on(cluster: ThrowawayCluster, node: str) -> None:
    """Let a node come back, empty."""
    mend_link(cluster, node)
    cluster.start_slurmd(node)


def on_node(cluster: ThrowawayCluster, node: str) -> list[int]:
    """Return the processes on a node; needs links."""
    own = _network(_holder(cluster, node))
    return [pid for pid in _processes() if _network(pid) == own and not _ended(pid)]


def ranks(folder: Path, rank: int | None = None) -> list[int]:
    """Return the training processes of a run on all nodes, or that with one global number."""
    found = []
    for pid in _processes():
        words = _words(pid)
        if b"hpclaunch.train" not in words or str(folder).encode() not in words:
            continue
        if not _launches(words) and rank in {None, _rank(pid)} and not _ended(pid):
            found.append(pid)
    return sorted(found)


def node_of(pid: int) -> str | None:
    """Return the node that a process of a job runs on."""
    with contextlib.suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"SLURMD_NODENAME="):
                return variable.partition(b"=")[2].decode()
    return None


def launchers(folder: Path) -> list[int]:
    """Return the processes of accelerate itself, one a node."""
    of_run = [pid for pid in _processes() if str(folder).encode() in _words(pid)]
    # Its interpreter has the whole path; srun and node.sh in front of it have the name alone.
    return sorted(
        pid for pid in of_run if any(w.endswith(b"/accelerate-launch") for w in _words(pid))
    )


def _launches(words: list[bytes]) -> bool:
    """Whether a command line is the launcher's, or of what starts it: srun, node.sh."""
    return any(b"accelerate-launch" in word for word in words)


def sidecars(folder: Path) -> list[int]:
    """Return the sidecars of a run."""
    metrics = str(folder / "metrics").encode()
    found = (pid for pid in _processes() if metrics in _words(pid))
    return sorted(pid for pid in found if b"monitors.recorder" in _words(pid))


def at_work(folder: Path) -> list[int]:
    """Everything of a run that lives, on whatever node: ranks, launchers, sidecars, shells."""
    run = f"HPCLAUNCH_RUN={folder}".encode()
    found = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            if run in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and not _ended(pid):
                found.append(pid)
    return sorted(found)


def _rank(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"RANK="):
                return int(variable[5:])
    return None


def _ip(cluster: ThrowawayCluster, *words: str) -> None:
    done = cluster.inside("ip", *words)
    if done.returncode:
        raise RuntimeError(done.stderr)


def _holder(cluster: ThrowawayCluster, node: str) -> int:
    """Return the process that keeps a node's namespaces."""
    wanted = f"{HOLDER}={cluster.place.folder}/{node}".encode()
    for pid in _processes():
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return pid
    raise RuntimeError(f"{node} has no network of its own: start the cluster with links")


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _words(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def _network(pid: int) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    return ""


def _ended(pid: int) -> bool:
    """A zombie has ended, though it is still listed."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
