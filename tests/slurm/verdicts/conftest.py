"""Four nodes with links and cgroups of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.confine import Groups, confined, missing
from tests.slurm.forks import NodeServer
from tests.slurm.needed import need_slurm
from tests.slurm.settings import Settings
from tests.slurm.user import User


@pytest.fixture(scope="session")
def four() -> Iterator[ThrowawayCluster]:
    need_slurm()
    with ThrowawayCluster(Settings(nodes=4, links=True, lost_after=20)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def groups(four: ThrowawayCluster) -> Iterator[Groups]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with confined(four) as made:
        yield made


@pytest.fixture(scope="session")
def ready(four: ThrowawayCluster) -> Iterator[dict[str, str]]:
    """Variables of a user whose trainings have their imports behind them."""
    server = NodeServer(four, what="launcher")
    yield server.variables
    server.stop()


@pytest.fixture
def someone(four: ThrowawayCluster, ready: dict[str, str], tmp_path: Path) -> User:
    four.wait_until_idle()
    return User(four, tmp_path, ready)
