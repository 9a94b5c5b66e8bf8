"""The cluster that faults are done to: three nodes with links of their own, and a small disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import harm
from tests.slurm.case import Case
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.forks import NodeServer
from tests.slurm.needed import need_slurm
from tests.slurm.settings import Settings
from tests.slurm.user import SHOW_RANK, User

LOST_AFTER = 10
"""Seconds after which the test cluster holds a silent node to be lost; real sites have 300."""


@pytest.fixture(scope="session")
def linked(small_disk: Path) -> Iterator[ThrowawayCluster]:
    need_slurm()
    settings = Settings(nodes=3, links=True, lost_after=LOST_AFTER, grace=20)
    with ThrowawayCluster(settings) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of a few megabytes: mounted before the cluster starts, or its nodes lack it."""
    place = tmp_path_factory.mktemp("disk")
    words = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    subprocess.run(words, check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="session")
def variables(linked: ThrowawayCluster, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What makes trainings start as forks, unless what faults cost is to be measured."""
    if any(item.get_closest_marker("faults") for item in request.session.items):
        yield {}
        return
    server = NodeServer(linked)
    yield server.variables
    server.stop()


@pytest.fixture
def case(linked: ThrowawayCluster, tmp_path: Path, variables: dict[str, str]) -> Case:
    for node in linked.settings.node_names:
        harm.mend_link(linked, node)
        if "down" in linked.run("sinfo", "-h", "-N", "-n", node, "-o", "%T").stdout:
            harm.kill_slurmd(linked, node)
            linked.start_slurmd(node)
    linked.wait_until_idle()
    (tmp_path / "show_rank.py").write_text(SHOW_RANK)
    return Case(User(linked, tmp_path, variables), "hurt")
