"""Groups for a cluster's nodes: those that a killed test left behind are in nobody's way."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import cast

import pytest

from tests.slurm import harm
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.confine import confined, missing


def test_groups_left_by_a_killed_test_do_not_hinder_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    monkeypatch.setattr(harm, "on_node", lambda cluster, node: [])
    made = SimpleNamespace(
        place=SimpleNamespace(slot=999),
        settings=SimpleNamespace(node_names=("n1", "n2")),
        stop=lambda: None,
    )
    cluster = cast(ThrowawayCluster, made)
    with contextlib.ExitStack() as left:
        earlier = left.enter_context(confined(cluster))
        with confined(cluster) as later:
            later.limit_cpu("n1", 0.5)
            assert later.folder("cpu", "n1") != earlier.folder("cpu", "n1")
        assert not later.folder("cpu", "n1").exists()
    assert not earlier.folder("cpu", "n1").parent.parent.exists()
