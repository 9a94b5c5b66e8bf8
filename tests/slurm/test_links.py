"""The throwaway cluster with links: a node that is cut off is lost, and comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import harm
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.forks import NodeServer
from tests.slurm.needed import need_slurm
from tests.slurm.settings import Settings
from tests.slurm.user import User

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def linked() -> Iterator[ThrowawayCluster]:
    need_slurm()
    with ThrowawayCluster(Settings(nodes=2, links=True, lost_after=4)) as cluster:
        yield cluster


def node_state(cluster: ThrowawayCluster, node: str) -> str:
    return cluster.run("sinfo", "-h", "-N", "-n", node, "-o", "%T").stdout.strip()


def wait_for(cluster: ThrowawayCluster, node: str, start: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not node_state(cluster, node).startswith(start):
        assert time.monotonic() < deadline, node_state(cluster, node)
        time.sleep(0.2)


def test_every_node_has_its_own_network(linked: ThrowawayCluster) -> None:
    said = linked.run("srun", "-N2", "-l", "bash", "-c", "cat /proc/net/fib_trie; hostname").stdout
    for number in (1, 2):
        own = [line for line in said.splitlines() if line.startswith(f"{number - 1}:")]
        assert any(line.endswith(f" {linked.place.address(number)}") for line in own)
        assert not any(line.endswith(f" {linked.place.address(3 - number)}") for line in own)
    listen = "python3 -m http.server 8123 >/dev/null 2>&1 & until {}; do sleep 0.1; done"
    connect = "(exec 3<>/dev/tcp/node2/8123) 2>/dev/null"
    words = ["srun", "-wnode2", "bash", "-c", listen.format(connect)]
    assert linked.run(*words, timeout=120).returncode == 0
    # Another node's loopback is not this one's.
    assert linked.run("srun", "-wnode1", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8123").returncode


def test_a_slow_link(linked: ThrowawayCluster) -> None:
    def seconds() -> float:
        code = (
            "import socket,time;s=socket.create_server(('',8200));c=s.accept()[0];t=time.time()\n"
        )
        code += "n=0\nwhile d:=c.recv(65536): n+=len(d)\nprint(n, time.time()-t)"
        send = (
            "until head -c 4000000 /dev/zero >/dev/tcp/node2/8200; do sleep 0.1; done 2>/dev/null"
        )
        both = f'if [ $SLURM_NODEID = 1 ]; then python3 -c "$1"; else {send}; fi'
        done = linked.run("srun", "-N2", "bash", "-c", both, "x", code, timeout=120)
        got, taken = done.stdout.split()
        assert got == "4000000"
        return float(taken)

    fast = seconds()
    harm.slow_link(linked, "node2", "16mbit")
    slow = seconds()
    linked.inside("tc", "qdisc", "del", "dev", "node2", "root")
    assert fast < 1.5 < slow, (fast, slow)  # 32 megabits at 16 a second


def test_preflight_measures_the_links_and_plans_go_by_it(
    linked: ThrowawayCluster, tmp_path: Path
) -> None:
    server = NodeServer(linked, what="launcher")
    user = User(linked, tmp_path, server.variables)
    for node in ("node1", "node2"):
        harm.slow_link(linked, node, "80mbit")
    try:
        done = user.hpclaunch("preflight", "--nodes", "2", "--cpu-processes", "1")
    finally:
        for node in ("node1", "node2"):
            linked.inside("tc", "qdisc", "del", "dev", node, "root")
        server.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(
        (tmp_path / ".config/hpclaunch/measured/generic-throwaway.json").read_text()
    )
    assert set(record["inside"]) == set(), "one rank a node has nobody to talk to there"
    across = record["across"]["cpu"]
    assert (across["nodes"], across["ranks"]) == (2, 2)
    # 80 megabits are 0.01 GB; headers and acknowledgements take their share, a busy machine more.
    assert 0.002 < across["gather_gb_s"] <= 0.0101
    assert 0.002 < across["reduce_gb_s"] <= 0.0101
    assert "between nodes: all-gather 0.00" in done.stdout
    alone = user.hpclaunch("preflight", "--cpu-processes", "1")
    assert alone.returncode == 2
    assert "has no other to exchange data with" in alone.stderr


@pytest.mark.faults
def test_a_node_that_is_cut_off_is_lost_and_comes_back(linked: ThrowawayCluster) -> None:
    harm.cut_link(linked, "node2")
    wait_for(linked, "node2", "down", 30)
    assert node_state(linked, "node1") == "idle"
    harm.mend_link(linked, "node2")
    harm.kill_slurmd(linked, "node2")
    harm.power_on(linked, "node2")  # a daemon that starts reports at once
    wait_for(linked, "node2", "idle", 30)


@pytest.mark.faults
def test_a_node_without_power_loses_all_that_ran_on_it(linked: ThrowawayCluster) -> None:
    linked.run(
        "sbatch", "--nodelist=node2", "--no-requeue", input="#!/bin/bash\nsleep 600 & wait\n"
    )
    deadline = time.monotonic() + 10
    before = len(harm.on_node(linked, "node2"))
    while len(harm.on_node(linked, "node2")) < before + 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    harm.power_off(linked, "node2")
    assert len(harm.on_node(linked, "node2")) == 1  # what keeps the namespaces
    wait_for(linked, "node2", "down", 30)
    harm.power_on(linked, "node2")
    wait_for(linked, "node2", "idle", 30)
