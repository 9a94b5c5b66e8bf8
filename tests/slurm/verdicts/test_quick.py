"""The verdict while a training of four nodes is well, has a slow node, and has a slow link."""

from __future__ import annotations

import contextlib

import pytest

from tests.slurm import harm
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.confine import Groups
from tests.slurm.table import Verdicts
from tests.slurm.user import User
from tests.slurm.verdicts.training import Training, besides_queues, between

pytestmark = [pytest.mark.slurm, pytest.mark.train, pytest.mark.alone]

SECONDS = 10


def test_the_verdict_follows_what_is_done_to_the_nodes(
    someone: User, four: ThrowawayCluster, groups: Groups, verdicts: Verdicts
) -> None:
    with Training(someone).under_way() as training:
        well = training.during("nothing", contextlib.nullcontext(), SECONDS)
        slow_node = training.during(
            "a slow node",
            between(
                lambda: groups.limit_cpu("node3", 0.1), lambda: groups.limit_cpu("node3", None)
            ),
            SECONDS,
        )
        slow_link = training.during(
            "a slow link",
            between(
                lambda: harm.slow_link(four, "node2", "40mbit"),
                lambda: harm.fast_link(four, "node2"),
            ),
            SECONDS,
        )
    verdicts.add("nothing", well)
    verdicts.add("node3 held to a tenth of a core", slow_node)
    verdicts.add("node2's link held to 40 Mbit/s", slow_link)
    assert besides_queues(well) == []
    assert slow_node.verdict.startswith("node3 held the job back: "), slow_node.findings
    assert slow_node.findings[0].lost_share is not None
    assert 0.2 <= slow_node.findings[0].lost_share <= 1
    assert slow_link.verdict.startswith("The ranks waited for the network "), slow_link.findings
