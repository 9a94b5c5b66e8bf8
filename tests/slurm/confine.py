"""The nodes of a throwaway cluster in cgroups of their own, as Slurm's cgroup plugin makes them."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.slurm import harm
from tests.slurm.cluster import ThrowawayCluster

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "memory")
PERIOD_US = 100_000
_numbers = itertools.count()


class Groups:
    """One group a node and controller; what Slurm starts on the node later is in it, too."""

    def __init__(self, cluster: ThrowawayCluster) -> None:
        self._cluster = cluster
        # Named anew each time: a test that was killed leaves its groups, on this machine for good.
        self._name = f"throwaway{cluster.place.slot}-{os.getpid()}-{next(_numbers)}"

    def folder(self, controller: str, node: str) -> Path:
        """The node's group; called as Slurm calls a job's."""
        return ROOT / controller / self._name / node / "job_0"

    def limit_cpu(self, node: str, cores: float | None) -> None:
        """Let all that runs on a node have so many cores together; None takes the limit away."""
        quota = -1 if cores is None else int(cores * PERIOD_US)
        (self.folder("cpu", node) / "cpu.cfs_quota_us").write_text(str(quota))

    def limit_memory(self, node: str, size: int | None) -> None:
        """Let all that runs on a node have so many bytes together."""
        path = self.folder("memory", node) / "memory.limit_in_bytes"
        path.write_text(str(-1 if size is None else size))

    def memory_used(self, node: str) -> int:
        """Bytes that are in use on a node."""
        return int((self.folder("memory", node) / "memory.usage_in_bytes").read_text())


def missing() -> str | None:
    """Why nodes cannot be confined here, or None."""
    for controller in CONTROLLERS:
        trial = ROOT / controller / "throwaway-trial"
        try:
            trial.mkdir()
            trial.rmdir()
        except OSError as error:
            return f"no cgroup of version 1 for {controller} can be made here: {error.strerror}"
    return None


@contextlib.contextmanager
def confined(cluster: ThrowawayCluster) -> Iterator[Groups]:
    """Return every node of a cluster with links its groups; before jobs run. Gone with the cluster.

    Enter it before the cluster's own end: processes must have ended for the groups to go.
    """
    groups = Groups(cluster)
    made = []
    for node in cluster.settings.node_names:
        for controller in CONTROLLERS:
            folder = groups.folder(controller, node)
            folder.mkdir(parents=True)
            made.append(folder)
            for pid in harm.on_node(cluster, node):
                with contextlib.suppress(ProcessLookupError):
                    (folder / "cgroup.procs").write_text(str(pid))
    try:
        yield groups
    finally:
        cluster.stop()
        for folder in made:
            for level in (folder, folder.parent, folder.parent.parent):
                _remove(level)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        try:
            folder.rmdir()
        except OSError:
            if any(child.is_dir() for child in folder.iterdir()):
                return  # another node's is still below
            time.sleep(0.05)
