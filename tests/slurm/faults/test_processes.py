"""Signals, hangs and damage: what happens to processes and files."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from tests.slurm import harm
from tests.slurm.case import Case
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.faults.ends import RESUMED, blamed, kill_rank, resumed
from tests.slurm.table import Table

pytestmark = [pytest.mark.slurm, pytest.mark.train]

slow = pytest.mark.faults


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
    case.hurt(lambda: os.kill(harm.sidecars(case.folder)[-1], signal.SIGKILL))
    cost = resumed(case, restarts=0)
    assert cost.lost == 0
    report = case.user.hpclaunch("report", "hurt").stdout
    assert "node2" in report and "no end: killed" in report, report
    table.add("SIGKILL to one node's sidecar", cost, "training went on; the report says it")


@slow
def test_the_disk_is_full(case: Case, table: Table, small_disk: Path) -> None:
    case = Case(case.user, "hurt", runs=small_disk)
    steps = 80
    case.start("--runs-dir", str(small_disk), steps=steps)
    filler = small_disk / "filler"

    def fill() -> None:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)

    case.hurt(fill)
    # What is said and marked meanwhile may be lost too, so it is no use to wait for words.
    time.sleep(3)
    filler.unlink()
    cost = case.end()
    said = case.status()
    assert (said["state"], said["progress"]["restarts"]) == ("done", 0), case.everything()
    assert (case.folder / "final/adapter_model.safetensors").is_file()
    kept = {mark["step"] for mark in case.marks("checkpoint")}
    assert kept < set(range(5, steps + 1, 5)), "one at least was lost"
    assert steps in kept
    case.records_whole(torn=1)  # the line that the disk became full in
    table.add("the disk full for a while", cost, "that checkpoint was lost, training went on")


@slow
@pytest.mark.parametrize("how", ["cut short", "a byte flipped"])
def test_the_newest_checkpoint_is_damaged(case: Case, table: Table, how: str) -> None:
    case.start("checkpoints.keep=2", until_step=12)

    def damage() -> None:
        newest = case.folder / "checkpoints/step-10"
        shard = max(newest.rglob("__*.safetensors"), key=lambda path: path.stat().st_size)
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
def test_it_is_cancelled(case: Case, table: Table, linked: ThrowawayCluster) -> None:
    case.start(steps=400)
    case.hurt(lambda: linked.run("scancel", case.job))
    case.wait_until_gone()
    cost = case.end("CANCELLED")
    assert case.status()["state"] == "cancelled"
    case.records_whole()
    table.add("scancel", cost, "stays cancelled; `resume` goes on")
