"""The whole way on a real Slurm: a two-node FSDP LoRA run by sbatch, and one by srun."""

from __future__ import annotations

import json

import pytest
from safetensors.numpy import load_file

from tests.slurm.user import User

pytestmark = [pytest.mark.slurm, pytest.mark.train]

SHORT = ["tiny", "training.max_steps=4", "training.logging_steps=1", "--nodes", "2"]


@pytest.mark.parametrize(
    ("command", "processes"),
    [(["sbatch", "--wait"], 2), pytest.param(["srun"], 1, marks=pytest.mark.real_start)],
)
def test_two_nodes_train_to_the_end(user: User, command: list[str], processes: int) -> None:
    each = ["--cpu-processes", str(processes)]
    done = user.hpclaunch(*command, *SHORT, *each, "--name", "one", timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = user.folder / "runs/one"
    said = user.status("one")
    assert said["state"] == "done"
    assert said["progress"]["step"] == said["progress"]["total"] == 4
    marks = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    (start,) = [mark for mark in marks if mark["event"] == "start"]
    assert start["world"] == 2 * processes
    losses = [mark["loss"] for mark in marks if mark["event"] == "step"]
    assert len(losses) == 4
    adapter = load_file(folder / "final/adapter_model.safetensors")
    assert any(abs(tensor).max() > 0 for name, tensor in adapter.items() if "lora_B" in name)
    report = json.loads(user.hpclaunch("report", "--json").stdout)
    assert [node["node"] for node in report["metrics"]["nodes"]] == ["node1", "node2"]
    assert report["training"]["trainable"] == said["progress"]["trainable"]
    text = user.hpclaunch("report").stdout
    assert "4 of 4" in text
    assert "node2" in text


def test_data_that_went_bad_in_the_queue_fails_before_the_ranks_start(user: User) -> None:
    data = user.folder / "data.jsonl"
    bad = '{"text": "fine"}\n{"text": \n'
    data.write_text(bad)
    words = ["sbatch", *SHORT, "--cpu-processes", "2", "--dataset", str(data), "--name", "bad"]
    refused = user.hpclaunch(*words)
    assert refused.returncode == 2
    assert "data.jsonl:2: not valid JSON" in refused.stderr
    assert not (user.folder / "runs/bad").exists()

    data.write_text('{"text": "fine"}\n')
    held = user.hpclaunch(*words, "--no-submit")
    assert held.returncode == 0, held.stderr
    data.write_text(bad)
    job = user.run("sbatch", "--parsable", str(user.folder / "runs/bad/job.sbatch")).stdout.strip()
    assert user.cluster.wait(job, 300).state == "FAILED"
    said = user.status("bad")
    assert (said["state"], said["exit_code"]) == ("failed", 2)
    (log,) = (user.folder / "runs/bad/logs").glob("job-*.out")
    said_there = log.read_text()
    assert "data.jsonl:2: not valid JSON" in said_there
    assert "Traceback" not in said_there
