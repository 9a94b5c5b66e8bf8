"""A job that is stopped comes back by itself, and goes on; or says why it does not."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.slurm.user import User

pytestmark = [pytest.mark.slurm, pytest.mark.train]

SMALL = ["tiny", "training.logging_steps=1", "training.eval_strategy=no", "data.limit=24",
         "training.per_device_train_batch_size=2",
         "--cpu-processes", "1", "--nodes", "2"]  # fmt: skip


def marks(user: User, run: str, event: str) -> list[dict[str, object]]:
    path = user.folder / "runs" / run / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [mark for line in lines if (mark := json.loads(line))["event"] == event]


def wait_for_step(user: User, run: str, step: int) -> None:
    deadline = time.monotonic() + 400  # of a machine that is busy
    while not any(mark["step"] == step for mark in marks(user, run, "step")):
        assert time.monotonic() < deadline, user.hpclaunch("logs", run).stdout
        time.sleep(0.05)


def test_a_preempted_job_comes_back_and_goes_on(user: User, tmp_path: Path) -> None:
    """It copies to a folder as well; what is not there in time, the next attempt copies."""
    to = f"checkpoints.sync_to=file://{tmp_path}/attic"
    words = ["sbatch", *SMALL, "training.max_steps=10", to, "--name", "back", "--json"]
    job = json.loads(user.hpclaunch(*words).stdout)["job_id"]
    wait_for_step(user, "back", 3)
    assert user.run("scancel", "--signal=USR1", "--batch", job).returncode == 0
    assert user.cluster.wait(job, 600) == ("COMPLETED", 0, 0), user.hpclaunch("logs", "back").stdout
    said = user.status("back")
    assert said["state"] == "done"
    assert said["progress"]["restarts"] == 1
    (stop,) = marks(user, "back", "stop")
    assert stop["why"] == "preempted"
    # Every step once, in order: none is lost, none is done twice.
    assert [mark["step"] for mark in marks(user, "back", "step")] == list(range(1, 11))
    assert (Path(said["folder"]) / "final/adapter_model.safetensors").is_file()
    assert "2 attempts" in user.hpclaunch("status", "back").stdout

    log = user.hpclaunch("logs", "back").stdout
    assert re.search(
        r"waiting for the checkpoint to be at file:///.*/back, \d+(\.\d)? s at most", log
    )
    assert (tmp_path / "attic/back/final/adapter_model.safetensors").is_file()
    assert said["progress"]["sync_error"] is None


def test_a_stop_that_a_person_asked_for_is_no_pause_and_can_be_resumed(user: User) -> None:
    words = ["sbatch", *SMALL, "training.max_steps=10", "--name", "asked", "--json"]
    job = json.loads(user.hpclaunch(*words).stdout)["job_id"]
    wait_for_step(user, "asked", 2)
    (user.folder / "runs/asked/stop").touch()
    assert user.cluster.wait(job, 600) == ("COMPLETED", 0, 0)
    said = user.status("asked")
    assert said["state"] == "stopped"
    stopped = said["progress"]["step"]
    assert 2 <= stopped < 10
    refused = user.hpclaunch("resume", "asked", "method.lora.r=8")
    assert refused.returncode == 2
    assert "method.lora.r was 16 and would be 8" in refused.stderr
    refused = user.hpclaunch("resume", "asked", "data.limit=20")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    done = user.hpclaunch("resume", "asked", "--wait", "--nodes", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 processes instead of 2" in done.stderr
    assert f"resuming from checkpoints/step-{stopped}" in done.stdout
    assert marks(user, "asked", "step")[-1]["step"] == 10
    assert user.status("asked")["state"] == "done"
    refused = user.hpclaunch("resume", "asked")
    assert refused.returncode == 2
    assert "is done" in refused.stderr


def test_a_start_that_gets_no_further_is_the_last(user: User) -> None:
    words = ["sbatch", *SMALL, "training.max_steps=20", "--name", "stuck", "--no-submit"]
    assert user.hpclaunch(*words).returncode == 0
    folder = user.folder / "runs/stuck"
    script = folder / "job.sbatch"
    # Training is stood in for by what a start without a step leaves: its word, and no checkpoint.
    text = script.read_text()
    text = text[: text.index("\ntrain ")].replace("python -m hpclaunch.train.prepare", "true")
    stands_in = """train bash -c 'echo "time limit" >"$HPCLAUNCH_RUN/stop"'"""
    script.write_text(f"{text}\n{stands_in}\nfinish\n")
    job = user.run("sbatch", "--parsable", str(script)).stdout.strip()
    assert user.cluster.wait(job, 240) == ("FAILED", 1, 0)
    assert "no new checkpoint in this attempt" in user.hpclaunch("logs", "stuck").stdout
    assert user.status("stuck")["state"] == "failed"


def rank_processes(user: User, run: str) -> list[int]:
    """Processes of the training itself, in any namespace of this machine."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"hpclaunch.train" in words and str(user.folder / "runs" / run).encode() in words:
            found.append(int(process.name))
    return sorted(found)


def is_launcher(pid: int) -> bool:
    """Whether a process is accelerate's own, which has the trainer's name among its arguments."""
    return b"accelerate-launch" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_killed_rank_costs_what_came_after_the_checkpoint(user: User) -> None:
    words = ["sbatch", *SMALL, "training.max_steps=12", "checkpoints.every_steps=5"]
    done = user.hpclaunch(*words, "--name", "hit", "--json")
    job = json.loads(done.stdout)["job_id"]
    wait_for_step(user, "hit", 7)
    accelerates = [pid for pid in rank_processes(user, "hit") if not is_launcher(pid)]
    os.kill(accelerates[-1], signal.SIGKILL)
    assert user.cluster.wait(job, 600) == ("COMPLETED", 0, 0), user.hpclaunch("logs", "hit").stdout
    log = user.hpclaunch("logs", "hit").stdout
    assert "after a new checkpoint; the next attempt resumes from it" in log
    assert "resuming from checkpoints/step-5" in log
    said = user.status("hit")
    assert (said["state"], said["progress"]["restarts"]) == ("done", 1)
    steps = [mark["step"] for mark in marks(user, "hit", "step")]
    again = steps.index(6, steps.index(6) + 1)
    assert steps[again:] == list(range(6, 13)), "from the checkpoint on, and no earlier"


def test_a_second_job_in_the_folder_fails_and_a_cancelled_one_stays_cancelled(user: User) -> None:
    words = ["sbatch", *SMALL, "training.max_steps=400", "checkpoints.every_steps=2"]
    first = json.loads(user.hpclaunch(*words, "--name", "one", "--json").stdout)["job_id"]
    wait_for_step(user, "one", 1)
    refused = user.hpclaunch("resume", "one")
    assert refused.returncode == 2
    assert "running" in refused.stderr
    script = str(user.folder / "runs/one/job.sbatch")
    second = user.run("sbatch", "--parsable", script).stdout.strip()
    assert user.cluster.wait(second, 240) == ("FAILED", 2, 0)
    assert user.cluster.job_state(first).state == "RUNNING"
    said = user.status("one")
    assert (said["state"], said["job_id"]) == ("running", first)
    assert f"job {first} is at work" in "".join(
        path.read_text() for path in (user.folder / "runs/one/logs").glob("job-*.out")
    )

    wait_for_step(user, "one", 4)  # with a checkpoint, after which others are requeued
    assert len(rank_processes(user, "one")) >= 2
    assert user.run("scancel", first).returncode == 0  # by hand, without hpclaunch's knowledge
    assert user.cluster.wait(first, 240).state == "CANCELLED"
    time.sleep(3)
    assert user.cluster.job_state(first).state == "CANCELLED"
    assert user.status("one")["state"] == "cancelled"
    assert rank_processes(user, "one") == []
