"""The throwaway cluster as a fixture."""

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import ThrowawayCluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[ThrowawayCluster]:
    """A running cluster of four nodes; HPCLAUNCH_REQUIRE_SLURM=1 makes its absence a failure."""
    reason = ThrowawayCluster.missing()
    if reason is not None:
        if os.environ.get("HPCLAUNCH_REQUIRE_SLURM") == "1":
            pytest.fail(f"HPCLAUNCH_REQUIRE_SLURM=1, but {reason}", pytrace=False)
        pytest.skip(f"no Slurm cluster for tests: {reason}")
    with ThrowawayCluster() as cluster:
        yield cluster
