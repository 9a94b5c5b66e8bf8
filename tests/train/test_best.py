"""`checkpoints.best`: the lowest evaluation loss is kept, survives a restart and becomes final."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import digests, folders, manifest
from hpclaunch.train.checkpoint.best import (
    EVAL_LOSS,
    Evaluated,
    evaluated_copies,
    evaluated_here,
    write_loss,
)
from tests.train.conftest import Done, short, train, write_jsonl
from tests.train.running import events_of, launch, make_run
from tests.train.weights import adapter_of, checkpoint_tensors


def checkpoint(run: RunFolder, step: int, **metadata: object) -> str:
    """Put a checkpoint with an empty manifest in place; return the manifest's text."""
    folder = run.checkpoints / f"step-{step}"
    folder.mkdir(parents=True)
    manifest.write(folder, {}, step=step, **metadata)
    return (folder / manifest.NAME).read_text("utf-8")


def test_the_lowest_finite_loss_is_the_best_and_the_earlier_of_equals(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    losses = {10: 0.5, 20: 0.25, 30: 0.25, 40: float("nan"), 50: "low", 60: True, 70: None}
    texts = {f"step-{step}": checkpoint(run, step, eval_loss=x) for step, x in losses.items()}
    checkpoint(run, 80)  # not evaluated
    best = [Evaluated(0.25, 20), Evaluated(0.25, 30), Evaluated(0.5, 10)]
    assert evaluated_here(run) == best
    assert evaluated_copies({**texts, "final": texts["step-20"], "step-90": "damaged"}) == best


def test_the_best_checkpoint_stays_beside_the_newest(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (1, 2, 3, 4):
        checkpoint(run, step)
    folders.remove_old(run, 1, ("step-2", None))
    assert [path.name for path in folders.complete(run)] == ["step-2", "step-4"]


def test_a_checkpoint_evaluated_after_it_was_saved_gets_its_loss(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    checkpoint(run, 5, ranks=2)
    write_loss(run, 5, 1.5)
    text = (run.checkpoints / "step-5" / manifest.NAME).read_text("utf-8")
    assert json.loads(text) == {"format": 2, "step": 5, "ranks": 2, EVAL_LOSS: 1.5, "files": {}}
    assert digests.find_difference(run, 5, text) == (True, None), "it is still this run's"


DIVERGING = [
    "training.learning_rate=0.03",
    "training.eval_strategy=steps",
    "training.eval_steps=2",
    "checkpoints.every_steps=5",
    "checkpoints.keep=1",
    "checkpoints.best=eval_loss",
]
"""Evaluations and checkpoints are at different steps."""


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose loss rises while the training rows are learnt: answers of other words."""
    turns = [
        [{"role": "user", "content": "%%%"}, {"role": "assistant", "content": text}]
        for text in ("zzz zzz zzz", "qqq qqq qqq", "ZZZ QQQ JJJ", "JJJ VVV XXX")
    ]
    rows = [{"messages": messages} for messages in turns]
    return write_jsonl(tmp_path_factory.mktemp("others") / "others.jsonl", rows)


@pytest.fixture(scope="module")
def diverging(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, rows: Path, others: Path
) -> Done:
    """A run on two ranks whose best weights are not its last."""
    overrides = [*short(tiny, rows), *DIVERGING, f"data.validation={others}"]
    return train(tmp_path_factory.mktemp("runs") / "best", overrides)


@pytest.mark.train
def test_the_final_weights_are_the_best_ones(diverging: Done) -> None:
    folder = diverging.folder
    assert diverging.outcome.code == 0, diverging.outcome.said
    losses = {event["step"]: event["loss"] for event in events_of(folder, "eval")}
    chosen = min(losses, key=losses.__getitem__)
    assert list(losses) == [2, 4, 6] and chosen != 6, losses
    assert [path.name for path in folders.complete(folder)] == [f"step-{chosen}", "step-6"]
    (end,) = events_of(folder, "end")
    assert (end["step"], end["final_step"]) == (6, chosen)
    assert round(end["eval_loss"], 6) == losses[chosen]
    best = checkpoint_tensors(folder.checkpoints / f"step-{chosen}" / "pytorch_model_fsdp_0")
    last = checkpoint_tensors(folder.checkpoints / "step-6" / "pytorch_model_fsdp_0")
    final = adapter_of(folder)
    assert sums(final) == sums(best) != sums(last)
    assert f"step-{chosen} has the lowest eval loss so far" in diverging.outcome.out
    assert f"final weights: of step {chosen}, the lowest eval loss" in diverging.outcome.out


def sums(tensors: dict[str, Any]) -> list[float]:
    """Return the sums of all tensors, sorted: files of both kinds name them otherwise."""
    return sorted(float(tensor.double().sum()) for tensor in tensors.values())


@pytest.mark.train
def test_the_best_survives_a_restart_and_a_damaged_one_is_passed_over(
    tiny: Path, rows: Path, others: Path, tmp_path: Path
) -> None:
    overrides = [*short(tiny, rows, steps=4), *DIVERGING, f"data.validation={others}"]
    folder = make_run(tmp_path / "run", overrides, per_node=1)
    assert launch(folder, 1).code == 0
    longer = folder.recipe.read_text("utf-8").replace("max_steps: 4", "max_steps: 6")
    folder.recipe.write_text(longer, "utf-8")
    again = launch(folder, 1)
    assert again.code == 0, again.said
    assert events_of(folder, "end")[-1]["final_step"] == 2
    assert [path.name for path in folders.complete(folder)] == ["step-2", "step-6"]
    (folder.checkpoints / "step-2" / "adapter_model.safetensors").write_bytes(b"damaged")
    folder.recipe.write_text(longer.replace("max_steps: 6", "max_steps: 8"), "utf-8")
    last = launch(folder, 1)
    assert last.code == 0, last.said
    assert "step-2, the best so far, cannot be loaded" in last.out
    assert events_of(folder, "end")[-1]["final_step"] in {6, 8}
