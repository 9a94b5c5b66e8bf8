"""A pipeline as dependent jobs on a real Slurm: a failed stage, and going on from it."""

from __future__ import annotations

import json

import pytest

from tests.slurm.user import User

pytestmark = pytest.mark.slurm

CHAIN = """
resources: {nodes: 1, cpu_processes: 1, time: "0:10:00"}
stages:
  tune: {recipe: tiny, set: {training.max_steps: 1, checkpoints.every_steps: 0}}
  merge: {stage: merge, of: tune, settings: {verify: false}}
  check: {command: [check.py, "${merge.final}"]}
  last: {command: [check.py], after: check}
"""
CHECK = """\
import os, sys
weights = sys.argv[1:2]
raise SystemExit(not os.path.exists("ok") or any(not os.listdir(each) for each in weights))
"""


def states(user: User) -> dict[str, str]:
    stages = json.loads(user.hpclaunch("status", "c", "--json").stdout)["stages"]
    return {stage["name"]: stage["state"] for stage in stages}


def test_a_pipeline_goes_on_from_the_stage_that_failed(user: User) -> None:
    (user.folder / "chain.yaml").write_text(CHAIN)
    (user.folder / "check.py").write_text(CHECK)
    done = user.hpclaunch("pipeline", "chain.yaml", "--name", "c", "--json")
    assert done.returncode == 0, done.stderr
    first = {stage["name"]: stage["job_id"] for stage in json.loads(done.stdout)["stages"]}
    assert list(first) == ["tune", "merge", "check", "last"]
    waiting = user.run("squeue", "--noheader", "--format=%i %E", "--sort=i").stdout
    assert f"{first['last']} afterok:{first['check']}(unfulfilled)" in waiting

    assert user.jobs_left(180) == "", "what hangs on a failed job does not wait for ever"
    assert states(user) == {"tune": "done", "merge": "done", "check": "failed", "last": "not run"}
    text = user.hpclaunch("status", "c")
    assert text.returncode == 1 and "not run (check failed)" in text.stdout
    assert "hpclaunch resume c" in text.stderr

    (user.folder / "ok").touch()
    again = user.hpclaunch("resume", "c", "--json")
    assert again.returncode == 0, again.stderr
    submitted = [stage["name"] for stage in json.loads(again.stdout)["stages"]]
    assert submitted == ["check", "last"], "what is done is not done again"
    assert user.jobs_left(120) == ""
    assert set(states(user).values()) == {"done"}


def test_a_pipeline_that_slurm_refuses_in_part_leaves_nothing(user: User) -> None:
    (user.folder / "check.py").write_text(CHECK)
    (user.folder / "chain.yaml").write_text("""
resources: {nodes: 1, cpu_processes: 1}
stages:
  a: {command: [sleep, "300"]}
  b: {command: [check.py], after: a, resources: {partition: nowhere}}
""")
    done = user.hpclaunch("pipeline", "chain.yaml")
    assert done.returncode == 2 and "b: Slurm refuses this job" in done.stderr
    assert user.jobs_left(20) == ""
    assert list((user.folder / "runs").iterdir()) == []
