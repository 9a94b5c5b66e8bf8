"""Nodes, links and daemons: what happens to machines."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hpclaunch.run.events import log_event
from tests.slurm import harm
from tests.slurm.case import Case, Cost
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.faults.ends import ELSEWHERE, blamed, kill_rank, resumed
from tests.slurm.table import Table

pytestmark = [pytest.mark.slurm, pytest.mark.train]

slow = pytest.mark.faults


@slow
def test_a_link_is_cut(case: Case, table: Table, linked: ThrowawayCluster) -> None:
    case.start("training.ddp_timeout=20")
    case.hurt(lambda: harm.cut_link(linked, "node2"))
    case.wait_until_gone(60 + 20)
    cost = resumed(case)
    assert blamed(case) == [("node-failure", "node2")]
    table.add("a node's link cut (`training.ddp_timeout=20`)", cost, ELSEWHERE)


@slow
def test_a_node_loses_power(case: Case, table: Table, linked: ThrowawayCluster) -> None:
    case.start()
    case.hurt(lambda: harm.power_off(linked, "node2"))
    case.wait_until_gone()
    cost = resumed(case)
    assert blamed(case) == [("node-failure", "node2")]
    table.add("a node lost", cost, ELSEWHERE)


@slow
def test_the_first_node_loses_power(case: Case, table: Table, linked: ThrowawayCluster) -> None:
    case.start("training.ddp_timeout=20")
    case.hurt(lambda: harm.power_off(linked, "node1"))
    case.wait_until_gone(60 + 20)
    cost = resumed(case)
    assert blamed(case) == [("node-failure", "node1")]
    table.add("the first node lost, with the script and the coordinator", cost, ELSEWHERE)


@slow
def test_a_slurmd_is_killed(case: Case, table: Table, linked: ThrowawayCluster) -> None:
    case.start(steps=400)
    case.hurt(lambda: harm.kill_slurmd(linked, "node2"))
    case.wait_until_gone(90)
    case.wait_for(lambda: case.cost().on is not None, 120)
    assert blamed(case) == [("node-failure", "node2")]
    cost = case.cost()
    assert linked.run("scancel", case.job).returncode == 0
    table.add("SIGKILL to one node's slurmd", cost, "the node taken for lost, resumed")


@slow
def test_the_slurmd_of_the_only_node_is_killed(
    case: Case, table: Table, linked: ThrowawayCluster
) -> None:
    """Nothing ends what runs there, and it sees the folder: two starts must not both write."""
    case.start("--nodes", "1", steps=2000)
    case.hurt(lambda: harm.kill_slurmd(linked, "node1"))
    case.wait_until_gone(150)
    case.wait_for(lambda: case.cost().on is not None, 60)
    assert case.status()["progress"]["restarts"] == 1
    assert blamed(case) == [("node-failure", "node1")]
    cost = case.cost()
    assert linked.run("scancel", case.job).returncode == 0
    case.records_whole()
    table.add("the same on the only node", cost, "the old start makes way for the new one")


@slow
def test_the_port_is_taken(case: Case, table: Table, linked: ThrowawayCluster) -> None:
    listen = "import socket, time; s = socket.create_server(('', 15555)); time.sleep(600)"
    inside = ["nsenter", f"--target={harm.on_node(linked, 'node1')[0]}", "--net", "--"]
    with subprocess.Popen([*inside, sys.executable, "-c", listen]) as other:
        try:
            case.start("--port", "15555")
            case.hurt(lambda: None)
            resumed(case, restarts=0)
        finally:
            other.kill()
    assert "meeting at node1:15656" in case.log()
    table.add("the coordinator's port taken", Cost(0, None, None), "another taken before the start")


@slow
def test_a_node_that_fails_twice_is_left_out(case: Case, table: Table) -> None:
    case.start(steps=60)
    case.hurt(lambda: kill_rank(case, 1))
    case.wait_until_gone()
    case.wait_for(lambda: case.cost().on is not None and len(case.marks("checkpoint")) > 2, 120)
    assert case.status()["nodes"] == "node[1-2]"
    case.hurt(lambda: kill_rank(case, 1))
    case.wait_until_gone()
    case.wait_for(lambda: case.cost().on is not None, 120)
    said = case.status()
    assert (said["left_out"], said["nodes"]) == (["node2"], "node[1,3]")
    assert "excluded" in case.user.hpclaunch("status", "hurt").stdout
    cost = resumed(case, restarts=2, steps=60)
    assert blamed(case) == [("killed", "node2")] * 2
    table.add("a rank killed twice on the same node", cost, "resumed without that node")


@slow
def test_a_node_that_the_job_needs_is_kept(case: Case) -> None:
    case.start("--nodes", "3", steps=20)
    log_event(case.folder / "events.jsonl", "failure", kind="killed", node="node2", why="earlier")
    case.hurt(lambda: kill_rank(case, 1))
    case.wait_until_gone()
    resumed(case, steps=20)
    said = case.status()
    assert (said["left_out"], said["kept"]) == ([], ["node2"])
    assert "failed twice, but the job cannot run without it" in case.log()
