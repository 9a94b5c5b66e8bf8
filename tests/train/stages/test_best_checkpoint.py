"""`checkpoints.best: TASK`: training keeps the best checkpoint so far, and the stage takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.run.evaluations import Evaluation, Score, write_evaluation
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import Source
from hpclaunch.run.stage_settings import Best
from hpclaunch.train.checkpoint import folders
from tests.train.conftest import short
from tests.train.running import launch, make_run
from tests.train.stages.test_programs import results_of, run_stage
from tests.train.test_best import sums
from tests.train.weights import adapter_of, checkpoint_tensors

BY_QUIZ = [
    "evaluate.every=checkpoint",
    "evaluate.tasks=[quiz]",
    "checkpoints.best=quiz",
    "checkpoints.every_steps=2",
    "checkpoints.keep=1",
]


def evaluate(run: RunFolder, step: int, value: float) -> None:
    """Keep the score of a checkpoint, as its evaluation does."""
    evaluation = Evaluation(
        name=f"e{step}",
        created=1e11,
        model="a",
        checkpoint=f"step-{step}",
        tasks=("quiz",),
        scores={"quiz": {"acc": Score(value=value)}},
        higher_is_better={"quiz": {"acc": True}},
    )
    write_evaluation(run, evaluation)


@pytest.mark.train
def test_the_best_checkpoint_is_kept_and_taken(tiny: Path, rows: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [*short(tiny, rows), *BY_QUIZ])
    for step, value in {2: 0.75, 4: 0.25}.items():  # their evaluations end at once
        evaluate(run, step, value)
    trained = launch(run, 2)
    assert trained.code == 0, trained.said
    assert [path.name for path in folders.complete(run)] == ["step-2", "step-6"]
    source = Source(name="run", run=str(run.root))

    refused, done = run_stage(tmp_path / "early", Best(task="quiz"), source)
    assert done.code == 2 and "no score in quiz of step-6" in done.err
    assert not refused.final.exists()

    evaluate(run, 6, 0.5)
    made, done = run_stage(tmp_path / "best", Best(task="quiz"), source)
    values = results_of(made, done).values
    assert (values["checkpoint"], values["value"]) == ("step-2", 0.75)
    assert values["scores"] == {"step-2": 0.75, "step-4": 0.25, "step-6": 0.5}
    best = checkpoint_tensors(run.checkpoints / "step-2" / "pytorch_model_fsdp_0")
    assert sums(adapter_of(made)) == sums(best) != sums(adapter_of(run))
    assert {path.name for path in made.final.iterdir()} == {p.name for p in run.final.iterdir()}

    shards = run.checkpoints / "step-2" / "pytorch_model_fsdp_0"
    next(shards.glob("*.safetensors")).write_bytes(b"damaged")
    damaged, done = run_stage(tmp_path / "damaged", Best(task="quiz"), source)
    assert done.code == 2 and "step-2, the best in quiz, is damaged" in done.err
    assert not damaged.final.exists()
