"""Faults of every kind, done for real to a training on two nodes; each gives a row of a table."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpclaunch.run.events import mark
from tests.slurm import harm
from tests.slurm.case import Case, Cost
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.settings import Settings
from tests.slurm.table import Table
from tests.slurm.user import SHOW_RANK, User

pytestmark = [pytest.mark.slurm, pytest.mark.train]

slow = pytest.mark.faults

RESUMED = "requeued, resumed, done"
ELSEWHERE = "requeued, resumed on another node, done"

LOST_AFTER = 10
"""Seconds after which the test cluster holds a silent node to be lost; real sites have 300."""


@pytest.fixture(scope="module")
def linked(small_disk: Path) -> Iterator[ThrowawayCluster]:
    reason = ThrowawayCluster.missing()
    if reason is not None:
        if os.environ.get("HPCLAUNCH_REQUIRE_SLURM") == "1":
            pytest.fail(f"HPCLAUNCH_REQUIRE_SLURM=1, but {reason}", pytrace=False)
        pytest.skip(f"no Slurm cluster for tests: {reason}")
    settings = Settings(nodes=3, links=True, lost_after=LOST_AFTER, grace=20)
    with ThrowawayCluster(settings) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of a few megabytes: mounted before the cluster starts, or its nodes lack it."""
    place = tmp_path_factory.mktemp("disk")
    words = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    subprocess.run(words, check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def case(linked: ThrowawayCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    for node in linked.settings.node_names:
        harm.mend_link(linked, node)
        if "down" in linked.run("sinfo", "-h", "-N", "-n", node, "-o", "%T").stdout:
            harm.kill_slurmd(linked, node)
            linked.start_slurmd(node)
    linked.wait_until_idle()
    (tmp_path / "show_rank.py").write_text(SHOW_RANK)
    return Case(User(linked, tmp_path), "hurt")


def resumed(case: Case, restarts: int = 1, steps: int = 40) -> Cost:
    """The training went on from its newest checkpoint and came to its end, every step done."""
    cost = case.end()
    said = case.status()
    assert said["state"] == "done", case.everything()
    assert said["progress"]["restarts"] == restarts, case.everything()
    assert {mark["step"] for mark in case.marks("step")} == set(range(1, steps + 1))
    assert (case.folder / "final/adapter_model.safetensors").is_file()
    case.records_whole()
    return cost


def blamed(case: Case) -> list[tuple[str, str]]:
    """Kinds of the failures so far, each with its node."""
    return [(mark["kind"], mark["node"]) for mark in case.marks("failure")]


def kill_rank(case: Case, rank: int) -> None:
    os.kill(harm.ranks(case.folder, rank)[0], signal.SIGKILL)


def test_a_rank_hangs(case: Case, table: Table) -> None:
    case.start("training.ddp_timeout=12")
    case.hurt(lambda: os.kill(harm.ranks(case.folder, 1)[0], signal.SIGSTOP))
    case.wait_until_gone(60 + 12)
    case.wait_for(lambda: case.status()["state"] == "queued", 30)
    assert "rank 1 on node2: a collective timed out after 12 s" in case.status()["before"]
    cost = resumed(case)
    assert blamed(case) == [("collective-timeout", "node2")]
    table.add("one rank hangs (SIGSTOP; `training.ddp_timeout=12`)", cost, RESUMED)


@slow
def test_notice_of_a_preemption(case: Case, table: Table, linked: ThrowawayCluster) -> None:
    case.start()
    case.hurt(lambda: linked.run("scancel", "--signal=USR1", "--batch", case.job))
    case.wait_until_gone()
    cost = resumed(case)
    assert cost.lost == 0
    table.add("notice of a preemption (USR1)", cost, RESUMED)


@slow
def test_the_time_limit(case: Case, table: Table, linked: ThrowawayCluster) -> None:
    case.start("--time", "2", steps=2000, until_step=1)
    case.wait_for(lambda: bool(case.marks("stop")), 120)
    case.hurt(lambda: None)
    case.wait_until_gone()
    assert case.marks("stop")[0]["why"] == "time limit"
    case.wait_for(lambda: case.cost().on is not None, 120)
    cost = case.cost()
    assert cost.lost == 0
    assert linked.run("scancel", case.job).returncode == 0
    table.add("a limit of two minutes on a longer training", cost, "requeued, resumed")


@slow
def test_a_rank_is_killed(case: Case, table: Table) -> None:
    case.start()
    case.hurt(lambda: kill_rank(case, 1))
    case.wait_until_gone()
    cost = resumed(case)
    assert blamed(case) == [("killed", "node2")]
    table.add("SIGKILL to one rank", cost, RESUMED)


@slow
def test_accelerate_is_killed(case: Case, table: Table) -> None:
    case.start()
    case.hurt(lambda: os.kill(harm.launchers(case.folder)[-1], signal.SIGKILL))
    case.wait_until_gone()
    table.add("SIGKILL to one node's `accelerate`", resumed(case), RESUMED)


@slow
def test_a_sampler_is_killed(case: Case, table: Table) -> None:
    case.start()
    case.hurt(lambda: os.kill(harm.samplers(case.folder)[-1], signal.SIGKILL))
    cost = resumed(case, restarts=0)
    assert cost.lost == 0
    report = case.user.hpclaunch("report", "hurt").stdout
    assert "node2" in report and "no end: killed" in report, report
    table.add("SIGKILL to one node's sampler", cost, "training went on; the report says it")


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
def test_the_disk_is_full(case: Case, table: Table, small_disk: Path) -> None:
    case = Case(case.user, "hurt", runs=small_disk)
    case.start("--runs-dir", str(small_disk))
    filler = small_disk / "filler"

    def fill() -> None:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)

    case.hurt(fill)
    case.wait_for(lambda: "no checkpoint" in case.log() or case.last_step() > 20, 60)
    filler.unlink()
    cost = resumed(case, restarts=0)
    assert case.marks("checkpoint failed")
    table.add("the disk full for a while", cost, "that checkpoint was lost, training went on")


@slow
@pytest.mark.parametrize("how", ["cut short", "a byte flipped"])
def test_the_newest_checkpoint_is_damaged(case: Case, table: Table, how: str) -> None:
    case.start("checkpoints.keep=2", until_step=12)

    def damage() -> None:
        newest = case.folder / "checkpoints/step-10"
        shard = max(newest.rglob("*.distcp"), key=lambda path: path.stat().st_size)
        text = bytearray(shard.read_bytes())
        if how == "cut short":
            del text[len(text) // 2 :]
        else:
            text[len(text) // 2] ^= 1
        shard.write_bytes(text)
        kill_rank(case, 1)

    case.hurt(damage)
    case.wait_until_gone()
    cost = resumed(case)
    (damaged,) = case.marks("checkpoint damaged")
    assert damaged["path"] == "step-10"
    assert "resuming from checkpoints/step-5" in case.log()
    table.add(f"the newest checkpoint {how}, a rank killed", cost, "named; the one before taken")


@slow
def test_preempted_with_nothing_but_sigterm(
    case: Case, table: Table, linked: ThrowawayCluster
) -> None:
    case.start(steps=400)

    def take() -> None:
        words = ["sbatch", "--partition=urgent", "--nodes=3", "--exclusive"]
        assert linked.run(*words, input="#!/bin/bash\nsleep 5\n").returncode == 0

    case.hurt(take)
    case.wait_until_gone()
    case.wait_for(lambda: case.cost().on is not None, 120)
    cost = case.cost()
    assert not {"node1", "node2"} & {node for _, node in blamed(case)}, case.everything()
    assert linked.run("scancel", case.job).returncode == 0
    table.add("preempted, with SIGTERM alone", cost, "requeued, resumed")


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
    assert "left out" in case.user.hpclaunch("status", "hurt").stdout
    cost = resumed(case, restarts=2, steps=60)
    assert blamed(case) == [("killed", "node2")] * 2
    table.add("a rank killed twice on the same node", cost, "resumed without that node")


@slow
def test_a_node_that_the_job_needs_is_kept(case: Case) -> None:
    case.start("--nodes", "3", steps=20)
    mark(case.folder / "events.jsonl", "failure", kind="killed", node="node2", why="earlier")
    case.hurt(lambda: kill_rank(case, 1))
    case.wait_until_gone()
    resumed(case, steps=20)
    said = case.status()
    assert (said["left_out"], said["kept"]) == ([], ["node2"])
    assert "failed twice, but the job cannot run without it" in case.log()


@slow
def test_it_is_cancelled(case: Case, table: Table, linked: ThrowawayCluster) -> None:
    case.start(steps=400)
    case.hurt(lambda: linked.run("scancel", case.job))
    case.wait_until_gone()
    cost = case.end("CANCELLED")
    assert case.status()["state"] == "cancelled"
    case.records_whole()
    table.add("scancel", cost, "stays cancelled; `resume` goes on")
