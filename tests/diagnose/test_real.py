"""Troubles that are brought about: real ranks, a real Slurm, and their own words."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Home
from tests.slurm.user import User

PROGRAM = """\
#!/usr/bin/env python
import os, signal, socket, sys, time
kind, rank = sys.argv[1], int(os.environ["RANK"])
if kind == "full":
    if rank == 1:
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")
    time.sleep(60)
if kind == "port":
    held = socket.socket()
    held.bind(("127.0.0.1", int(sys.argv[2])))
    held.listen()
    time.sleep(60)
import datetime, torch, torch.distributed as dist
# Ranks of a busy machine start seconds apart; the first waits for the second no longer than this.
seconds = 6 if kind == "late" else 120
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=seconds))
dist.all_reduce(torch.ones(1))
if rank == 1 and kind == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if rank == 1 and kind == "late":
    time.sleep(60)
dist.all_reduce(torch.ones(1))
"""


@pytest.fixture
def forked(tmp_path: Path, forked_trainings: dict[str, str]) -> Home:
    """A home whose ranks have their imports behind them."""
    return Home(tmp_path, forked_trainings)


def ask(home: Home, run: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(home.call("why", run, "--json").out)
    return said


@pytest.mark.train
@pytest.mark.parametrize(
    ("kind", "cause", "rank", "headline"),
    [
        ("killed", "killed", 1, "exit code -9: killed by SIGKILL"),
        ("late", "collective-timeout", 1, "after 6 s; rank 1 never said that it waited"),
        ("full", "disk-full", 1, "a disk is full"),
        ("port", "port-taken", None, "a port that the program opens is taken"),
    ],
)
def test_ranks(forked: Home, kind: str, cause: str, rank: int | None, headline: str) -> None:
    (forked.folder / "go.py").write_text(PROGRAM)
    words = ["--cpu-processes", "2", "--sharding", "none", "--name", kind]
    port = str(12000 + os.getpid() % 9000)
    done = forked.call("local", *words, "--", "go.py", kind, port)
    assert done.code == 1, done.err
    found = ask(forked, kind)["cause"]
    assert found["kind"] == cause, found
    assert headline in found["headline"]
    assert rank is None or found["rank"] == rank
    line = forked.call("status", kind).out
    assert found["headline"] in line
    screen = forked.call("why", kind).out
    assert screen.splitlines()[1].startswith(f"cause       rank {found['rank']} on ")


def why(user: User, run: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(user.hpclaunch("why", run, "--json").stdout)
    return {**said["cause"], "state": said["state"]}


@pytest.mark.slurm
def test_slurms_own_ends(user: User) -> None:
    words = ["sbatch", "--cpu-processes", "1", "--mem", "1000"]
    for name in ("ended", "struck", "lost", "held"):
        # The last one waits for all that the others have.
        size = (
            ["--nodes", "4", "--cpus", "8"] if name == "held" else ["--nodes", "2", "--cpus", "2"]
        )
        how = "struck" if name == "struck" else "sleep"
        user.hpclaunch(*words, *size, "--name", name, "--", "show_rank.py", how)
    jobs = {name: user.status(name)["job_id"] for name in ("ended", "struck", "lost", "held")}
    assert why(user, "held")["state"] == "queued"
    user.run("scontrol", "uhold", jobs["held"])
    assert "it is held by you (JobHeldUser)" in why(user, "held")["headline"]
    user.run("scancel", jobs["held"])
    _wait_for(lambda: all(_both_started(user, name) for name in ("ended", "struck", "lost")))
    user.run("scancel", jobs["ended"])
    for name in ("ended", "struck"):
        user.cluster.wait(jobs[name], 60)
    found = why(user, "ended")
    assert (found["kind"], found["state"]) == ("cancelled", "cancelled")
    assert "in Slurm" in found["headline"]
    found = why(user, "struck")
    assert (found["kind"], found["rank"], found["host"]) == ("killed", 1, "node2")
    node = "node2"
    try:
        user.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        user.cluster.wait(jobs["lost"], 60)
        found = why(user, "lost")
        assert (found["kind"], found["host"]) == ("node-failure", node)
        assert f"scontrol show node {node}" in " ".join(found["advice"])
    finally:
        user.run("scontrol", "update", f"nodename={node}", "state=idle")
    assert "the node failed" in user.hpclaunch("status", "lost").stdout


def _both_started(user: User, name: str) -> bool:
    logs = (user.folder / "runs" / name / "logs").glob("job-*.out")
    text = "".join(path.read_text() for path in logs)
    return all(f'"RANK": "{rank}"' in text for rank in (0, 1))


def _wait_for(true: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
