"""A run's job that is submitted again, by hand or by itself: what is said of it meanwhile."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from hpclaunch.slurm import requeue
from tests.slurm.user import User

pytestmark = pytest.mark.slurm

ENDS = "raise SystemExit(3)\n"
LASTS = "import time\ntime.sleep(300)\n"


def test_a_script_submitted_again_by_hand_is_followed(user: User) -> None:
    program = user.folder / "work.py"
    program.write_text(ENDS)
    words = ["sbatch", "--name", "again", "--nodes", "1", "--cpu-processes", "1", "--json"]
    first = json.loads(user.hpclaunch(*words, "--", "work.py").stdout)["job_id"]
    user.cluster.wait(first)
    before = user.status("again")
    assert (before["state"], before["exit_code"], before["job_id"]) == ("failed", 1, first)

    program.write_text(LASTS)
    script = str(user.folder / "runs/again/job.sbatch")
    second = user.run("sbatch", "--parsable", "--hold", script).stdout.strip()
    waiting = user.status("again")
    assert (waiting["state"], waiting["job_id"]) == ("queued", second)
    assert waiting["exit_code"] is None and waiting["failure"] is None

    following = user.follow("logs", "-f", "again")
    assert user.run("scontrol", "release", second).returncode == 0
    deadline = time.monotonic() + 60
    while user.status("again")["state"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    at_work = user.status("again")
    assert (at_work["job_id"], at_work["exit_code"]) == (second, None)
    assert following.poll() is None, "it follows the new job, whatever the old one left"

    assert user.hpclaunch("cancel", "again").returncode == 0
    assert user.cluster.wait(second).state == "CANCELLED"
    assert f"job {second}, attempt 1" in following.communicate(timeout=60)[0]
    assert user.status("again")["state"] == "cancelled"


def test_of_two_that_resume_a_run_at_once_one_does(user: User) -> None:
    (user.folder / "work.py").write_text(ENDS)
    words = ["sbatch", "--name", "twice", "--nodes", "1", "--cpu-processes", "1", "--json"]
    first = json.loads(user.hpclaunch(*words, "--", "work.py").stdout)["job_id"]
    user.cluster.wait(first)
    (user.folder / "work.py").write_text(LASTS)
    both = [user.start("resume", "twice") for _ in range(2)]
    ended = [(*each.communicate(timeout=120), each.returncode) for each in both]
    assert sorted(code for _, _, code in ended) == [0, 2], ended
    (refused,) = [text for _, text, code in ended if code == 2]
    assert re.search(
        r"another command is at work in run twice|run twice is (queued|running)", refused
    )
    jobs = user.run("squeue", "--noheader", "--format=%i").stdout.split()
    assert jobs == [user.status("twice")["job_id"]]
    assert user.hpclaunch("cancel", "twice").returncode == 0


def test_a_waiting_job_submitted_by_hand_can_be_cancelled(user: User) -> None:
    (user.folder / "work.py").write_text(ENDS)
    words = ["sbatch", "--name", "held", "--nodes", "1", "--cpu-processes", "1", "--no-submit"]
    assert user.hpclaunch(*words, "--", "work.py").returncode == 0
    assert user.status("held")["state"] == "written"
    script = str(user.folder / "runs/held/job.sbatch")
    job = user.run("sbatch", "--parsable", "--hold", script).stdout.strip()
    assert (user.status("held")["state"], user.status("held")["job_id"]) == ("queued", job)
    done = user.hpclaunch("cancel", "held")
    assert done.returncode == 0, done.stderr
    assert user.cluster.wait(job).state == "CANCELLED"


def test_nodes_are_left_out_only_where_enough_remain(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in user.cluster.exports.items():
        monkeypatch.setenv(name, value)
    script = "#!/bin/bash\n#SBATCH --nodes=3\nsleep 300\n"
    assert requeue.test_without(script, tmp_path, ["node2"]) is None
    assert "node" in (requeue.test_without(script, tmp_path, ["node2", "node3"]) or "").lower()
    held = user.cluster.run("sbatch", "--parsable", "--hold", input=script).stdout.strip()
    assert requeue.leave_out(held, ["node2"])
    assert user.cluster.run("scontrol", "release", held).returncode == 0
    deadline = time.monotonic() + 30
    while user.cluster.job_state(held).state != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not requeue.leave_out(held, ["node1"]), "of a job that runs nothing can be changed"
    said = user.cluster.run("squeue", "-h", "-j", held, "-o", "%N").stdout.strip()
    assert said == "node[1,3-4]"
    assert user.cluster.run("scancel", held).returncode == 0
    assert not requeue.requeue("999999")


def test_a_job_that_slurm_has_forgotten_can_be_gone_on_with(user: User) -> None:
    """Slurm knows an ended job for some minutes; where it was killed hard it left no exit code."""
    words = ["sbatch", "--name", "gone", "--nodes", "1", "--cpu-processes", "1", "--no-submit"]
    assert user.hpclaunch(*words, "--", "show_rank.py").returncode == 0
    folder = user.folder / "runs/gone"
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"job_id": "987654"}))
    assert user.status("gone")["state"] == "unknown", (
        "it may run elsewhere: it was written just now"
    )
    refused = user.hpclaunch("resume", "gone")
    assert refused.returncode == 2 and "987654" in refused.stderr

    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    silent = user.status("gone")
    assert (silent["state"], silent["exit_code"]) == ("failed", None)
    assert "no sign of life for 1 h" in silent["reason"]
    (folder / "cancelled").write_text("ada on login1, with hpclaunch cancel\n")
    assert user.status("gone")["state"] == "cancelled"
    assert (
        "cancelled by ada on login1, with hpclaunch cancel" in user.hpclaunch("why", "gone").stdout
    )
    done = user.hpclaunch("resume", "gone", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert user.status("gone")["state"] == "done"
