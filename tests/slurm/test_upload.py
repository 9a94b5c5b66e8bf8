"""Checkpoints of a job on two nodes go to a storage server, and come back from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.slurm.test_survival import SMALL, marks, wait_for_step
from tests.slurm.user import User
from tests.storage import BUCKET, Storage

pytestmark = [pytest.mark.slurm, pytest.mark.train]


@pytest.fixture
def server(user: User) -> Iterator[Storage]:
    """A server whose keys the user keeps where its own tools look for them."""
    storage = Storage()
    storage.keep_versions()
    storage.write_files(user.folder)
    yield storage
    storage.stop()


def test_a_lost_scratch_costs_a_job_on_two_nodes_nothing(user: User, server: Storage) -> None:
    steps = ["training.max_steps=12", "checkpoints.every_steps=4"]
    to = f"checkpoints.sync_to=s3://{BUCKET}/me"
    done = user.hpclaunch("sbatch", *SMALL, *steps, to, "--name", "far", "--json")
    job = json.loads(done.stdout)["job_id"]
    wait_for_step(user, "far", 5)
    folder = user.folder / "runs/far"
    (folder / "stop").touch()
    assert user.cluster.wait(job, 600) == ("COMPLETED", 0, 0), user.hpclaunch("logs", "far").stdout
    said = user.status("far")
    stopped = said["progress"]["step"]
    assert said["state"] == "stopped" and stopped < 12
    assert said["progress"]["synced"] == stopped
    assert said["progress"]["sync_error"] is None
    assert f"step {stopped}; newest: s3://attic/me/far/" in user.hpclaunch("status", "far").stdout
    assert server.whole(f"me/far/checkpoints/step-{stopped}/") and server.whole("me/far/final/")
    # Each node sent the files of its own rank, and none was sent by both.
    times = server.times_written(f"me/far/checkpoints/step-{stopped}/")
    assert {f"pytorch_model_fsdp_0/__{rank}_0.safetensors" for rank in (0, 1)} <= times.keys()
    assert set(times.values()) == {1}
    replies = [
        json.loads(line) for line in (folder / "upload/node-1.jsonl").read_text().splitlines()
    ]
    assert replies and all(reply["problem"] is None for reply in replies)
    # No key stands in what Slurm or the run keeps.
    held = (path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert not any(b"let me in" in data for data in held)

    shutil.rmtree(folder / "checkpoints")
    went_on = user.hpclaunch("resume", "far", "--wait")
    assert went_on.returncode == 0, went_on.stdout + went_on.stderr
    assert f"fetching step-{stopped} from s3://attic/me/far" in went_on.stdout
    assert f"resuming from checkpoints/step-{stopped}" in went_on.stdout
    assert [mark["step"] for mark in marks(user, "far", "step")] == list(range(1, 13))
    assert user.status("far")["state"] == "done"
    assert server.whole("me/far/checkpoints/step-12/") and server.whole("me/far/final/")
