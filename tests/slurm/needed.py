"""What a test that needs a throwaway cluster does where there can be none."""

from __future__ import annotations

import os

import pytest

from tests.slurm.cluster import ThrowawayCluster


def need_slurm() -> None:
    """Skip with the reason; HPCLAUNCH_REQUIRE_SLURM=1 makes it a failure."""
    reason = ThrowawayCluster.missing()
    if reason is None:
        return
    if os.environ.get("HPCLAUNCH_REQUIRE_SLURM") == "1":
        pytest.fail(f"HPCLAUNCH_REQUIRE_SLURM=1, but {reason}", pytrace=False)
    pytest.skip(f"no Slurm cluster for tests: {reason}")
