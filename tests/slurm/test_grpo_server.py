"""GRPO with a server on the last node of the job: it starts, answers, ends, and its end is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import vllm_standin
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.forks import NodeServer
from tests.slurm.user import User

pytestmark = [pytest.mark.slurm, pytest.mark.train]

GRPO = ["sbatch", "grpo", "training.max_steps=3", "method.grpo.server.enabled=true",
        "training.per_device_train_batch_size=8", "checkpoints.every_steps=0", "--nodes", "1",
        "--cpu-processes", "1", "--wait"]  # fmt: skip


@pytest.fixture(scope="module")
def vllm(
    slurm: ThrowawayCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Variables of jobs that find the stand-in installed, and whose trainings are forks."""
    server = NodeServer(slurm, vllm_standin.write(tmp_path_factory.mktemp("standin")))
    yield server.variables
    server.stop()


def with_vllm(user: User, vllm: dict[str, str], **more: str) -> User:
    """Return the user with the stand-in in the environment of all that is started."""
    return User(user.cluster, user.folder, {**vllm, **more})


def test_the_last_node_serves_and_ends_with_the_training(user: User, vllm: dict[str, str]) -> None:
    refused = user.hpclaunch(*GRPO)
    assert refused.returncode == 2 and "lacks vllm" in refused.stderr
    done = with_vllm(user, vllm).hpclaunch(*GRPO, "--name", "one", timeout=500)
    folder = user.folder / "runs/one"
    assert done.returncode == 0, done.stdout + done.stderr + text_of(folder)
    script = (folder / "job.sbatch").read_text()
    assert "#SBATCH --nodes=2 " in script and "--num_machines 1" in script
    served = (folder / "logs/server.log").read_text()
    assert served.count("POST /v1/completions") == 3, served
    assert served.count("POST /update_weights") == 3, "each step's weights go to the server"
    assert not (folder / "logs/server-exit").exists()
    steps = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    rewards = [step["metrics"]["reward"] for step in steps if step["event"] == "step"]
    assert len(rewards) == 3
    looked = user.hpclaunch("watch", "one", "--once", "--json")
    seen = json.loads(looked.stdout)
    served_by = (folder / "logs/server-nodes").read_text().strip()
    assert seen["server_node"] == served_by and not seen["nodes_of_earlier_attempts"], seen
    assert f"{served_by} (server: writes completions)" in user.hpclaunch("report", "one").stdout
    sampled = {path.name.partition(".")[0] for path in (folder / "metrics").glob("*.jsonl")}
    assert len(sampled) == 2, "the server's node is sampled, too"
    assert user.jobs_left() == ""


def test_the_servers_end_ends_the_job_and_is_told_first(user: User, vllm: dict[str, str]) -> None:
    done = with_vllm(user, vllm, STANDIN_DIES="2").hpclaunch(*GRPO, "--name", "two", timeout=500)
    assert done.returncode != 0
    folder = user.folder / "runs/two"
    assert (folder / "logs/server-exit").read_text() == "code 3\n", text_of(folder)
    why = json.loads(user.hpclaunch("why", "two", "--json").stdout)
    assert "the server ended with code 3: RuntimeError: the stand-in gives out" in json.dumps(why)
    assert user.jobs_left() == ""


def text_of(folder: Path) -> str:
    """Return a job's log."""
    return "".join(path.read_text() for path in folder.glob("logs/job-*.out"))
