"""`checkpoints.best: TASK` on Slurm: evaluations beside the training, then the best one's run."""

from __future__ import annotations

import json

import pytest

from tests.slurm.test_walkthroughs import _task
from tests.slurm.user import User

pytestmark = [pytest.mark.slurm, pytest.mark.train]


def test_a_training_ends_with_its_best_checkpoint_by_a_score(user: User) -> None:
    done = user.hpclaunch(
        "sbatch", "tiny", "--name", "a", "--nodes", "1", "--cpu-processes", "1",
        "training.max_steps=4", "checkpoints.every_steps=2", "checkpoints.keep=1",
        "checkpoints.best=even", "evaluate.every=checkpoint", "evaluate.tasks=[even]",
        f"evaluate.tasks_dir={_task(user.folder)}", "evaluate.limit=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    left = user.jobs_left(420)
    log = user.folder / "runs/a/logs/evaluations.log"
    assert left == "", log.read_text()
    why = user.hpclaunch("why", "a-best")
    assert (user.folder / "runs/a-best/results.json").is_file(), (
        log.read_text() + why.stdout + why.stderr
    )
    values = json.loads((user.folder / "runs/a-best/results.json").read_text())["values"]
    assert sorted(values["scores"]) == ["step-2", "step-4"] and values["metric"] == "acc"
    assert values["value"] == max(values["scores"].values())
    assert (user.folder / "runs/a-best/final/adapter_model.safetensors").is_file()
    again = user.hpclaunch("best", "a")
    assert again.returncode == 0 and "done before, in" in again.stderr, again.stderr
    assert f"{values['checkpoint']}: even acc" in again.stdout, again.stdout
