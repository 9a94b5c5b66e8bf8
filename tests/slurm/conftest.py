"""The throwaway cluster as a fixture."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.needed import need_slurm
from tests.slurm.user import SHOW_RANK, User


@pytest.fixture(scope="session")
def slurm() -> Iterator[ThrowawayCluster]:
    """A running cluster of four nodes; HPCLAUNCH_REQUIRE_SLURM=1 makes its absence a failure."""
    need_slurm()
    with ThrowawayCluster() as cluster:
        yield cluster


@pytest.fixture
def user(slurm: ThrowawayCluster, tmp_path: Path) -> User:
    """A user with an empty home on this cluster, with all its nodes free."""
    slurm.wait_until_idle()
    (tmp_path / "show_rank.py").write_text(SHOW_RANK)
    return User(slurm, tmp_path)
