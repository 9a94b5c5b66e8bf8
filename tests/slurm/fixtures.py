"""The throwaway cluster as a fixture."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.forks import NodeServer
from tests.slurm.needed import need_slurm
from tests.slurm.user import SHOW_RANK, User


@pytest.fixture(scope="session")
def slurm() -> Iterator[ThrowawayCluster]:
    """A running cluster of four nodes; HPCLAUNCH_REQUIRE_SLURM=1 makes its absence a failure."""
    need_slurm()
    with ThrowawayCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def forks(slurm: ThrowawayCluster) -> Iterator[dict[str, str]]:
    """Variables of a job whose trainings are forks of one process on the cluster."""
    server = NodeServer(slurm)
    yield server.variables
    server.stop()


@pytest.fixture
def user(request: pytest.FixtureRequest, slurm: ThrowawayCluster, tmp_path: Path) -> User:
    """A user with an empty home on this cluster, with all its nodes free.

    Launchers and trainings have their imports behind them, for tests of what comes of them. Tests
    of how they start, get signals and end are marked `real_start`: see `tests.forkserver.site`.
    """
    slurm.wait_until_idle()
    (tmp_path / "show_rank.py").write_text(SHOW_RANK)
    real = request.node.get_closest_marker("real_start")
    return User(slurm, tmp_path, {} if real else request.getfixturevalue("forks"))
