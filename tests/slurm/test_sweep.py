"""A sweep as a job array on a real Slurm: its tasks are runs like all others."""

from __future__ import annotations

import json

import pytest

from tests.slurm.user import User

pytestmark = pytest.mark.slurm

# The second task fails, until there is a file called ok.
WORK = """\
import os
raise SystemExit(os.environ["SLURM_ARRAY_TASK_ID"] == "1" and not os.path.exists("ok"))
"""


def test_a_sweep_is_an_array_whose_failed_runs_are_submitted_again(user: User) -> None:
    (user.folder / "work.py").write_text(WORK)
    words = ["fsdp.sharding=full,grad", "--name", "sw", "--nodes", "1", "--cpu-processes", "1"]
    done = user.hpclaunch("sweep", *words, "--parallel", "1", "--json", "--", "work.py")
    assert done.returncode == 0, done.stderr
    submitted = json.loads(done.stdout)
    array = submitted["job_id"]
    assert submitted["runs"] == ["sw.sharding-full", "sw.sharding-grad"]
    waiting = user.status("sw.sharding-grad")
    assert (waiting["job_id"], waiting["state"]) == (f"{array}_1", "queued")

    assert user.jobs_left(90) == ""
    table = json.loads(user.hpclaunch("sweep", "--table", "sw", "--json").stdout)
    assert [(run["state"], run["job_id"]) for run in table["runs"]] == [
        ("done", f"{array}_0"),
        ("failed", f"{array}_1"),
    ]
    assert table["best"] is None, "a program of one's own tells no loss"
    log = next((user.folder / "runs/sw.sharding-grad/logs").glob("job-*.out"))
    assert f"job {array}_1, attempt 1" in log.read_text()

    (user.folder / "ok").touch()
    assert (
        user.run("scontrol", "update", "NodeName=ALL", "State=DRAIN", "Reason=test").returncode == 0
    )
    again = user.hpclaunch("sweep", "--resubmit", "sw", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["runs"] == ["sw.sharding-grad"], "the other one is done"
    assert user.hpclaunch("cancel", "sw.sharding-grad").returncode == 0
    assert user.status("sw.sharding-grad")["state"] == "cancelled"
    third = json.loads(user.hpclaunch("sweep", "--resubmit", "sw", "--json").stdout)["job_id"]
    assert user.status("sw.sharding-grad")["job_id"] == f"{third}_1"
    assert user.run("scontrol", "update", "NodeName=ALL", "State=RESUME").returncode == 0
    assert user.jobs_left(90) == ""
    assert user.status("sw.sharding-grad")["state"] == "done"
    assert "no run of sw failed" in user.hpclaunch("sweep", "--resubmit", "sw").stderr
