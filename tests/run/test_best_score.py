"""Which checkpoint has the best score in a task, and which scores count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.run.best_score import best_so_far, choose
from hpclaunch.run.evaluations import Evaluation, Score, write_evaluation
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage_settings import Best

QUIZ = Best(task="quiz", limit=4)
LATER = 1e11
"""Unix seconds after any event of a test."""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with three checkpoints, none of them evaluated."""
    folder = RunFolder(tmp_path / "a b")
    for step in (5, 10, 15):
        (folder.checkpoints / f"step-{step}").mkdir(parents=True)
        log_event(folder.events, "checkpoint", step=step)
    return folder


def evaluate(run: RunFolder, step: int, **more: Any) -> None:
    """Keep the scores of a checkpoint: by default of `acc` alone."""
    values: dict[str, Any] = {"created": LATER, "limit": 4, "higher": True, "acc": 0.5} | more
    if "ppl" in more and "acc" not in more:
        del values["acc"]
    metrics = {key: values.pop(key) for key in ("acc", "ppl") if key in values}
    higher = values.pop("higher")
    write_evaluation(
        run,
        Evaluation(
            name=f"e{step}-{values.get('fewshot')}-{values['limit']}",
            model="a",
            checkpoint=f"step-{step}",
            tasks=("quiz",),
            scores={"quiz": {key: Score(value=value) for key, value in metrics.items()}},
            higher_is_better={} if higher is None else {"quiz": dict.fromkeys(metrics, higher)},
            **values,
        ),
    )


def test_the_harness_says_which_score_is_better_and_the_earlier_of_equals_wins(
    run: RunFolder,
) -> None:
    for step, acc in {5: 0.25, 10: 0.75, 15: 0.75}.items():
        evaluate(run, step, acc=acc, ppl=step)
    best = choose(run, QUIZ)
    assert (best.name, best.metric, best.value, best.higher) == ("step-10", "acc", 0.75, True)
    for step, acc in {5: 0.25, 10: 0.75, 15: 0.75}.items():
        evaluate(run, step, acc=acc, higher=False)
    assert choose(run, QUIZ).name == "step-5"
    evaluate(run, 5, higher=None)
    with pytest.raises(UserError, match="does not say whether a higher acc of quiz is better"):
        choose(run, QUIZ)


def test_a_metric_is_named_or_the_first(run: RunFolder) -> None:
    for step in (5, 10, 15):
        evaluate(run, step, acc=step, ppl=-step)
    named = Best(task="quiz", metric="ppl", limit=4)
    assert (choose(run, QUIZ).step, choose(run, named).step) == (15, 5)
    evaluate(run, 10, ppl=1.0)
    with pytest.raises(UserError, match="different first metrics of quiz: acc, ppl"):
        choose(run, QUIZ)


@pytest.mark.parametrize(
    "other", [{"limit": None}, {"fewshot": 2}, {"chat": True}, {"created": 1.0}, {"ppl": 3.0}]
)
def test_other_evaluations_do_not_count(run: RunFolder, other: dict[str, Any]) -> None:
    """Those of other rows, and of a checkpoint that was written again since."""
    evaluate(run, 5)
    evaluate(run, 10)
    evaluate(run, 15, acc=0.9, **other)
    wanted = Best(task="quiz", limit=4, metric="acc" if "ppl" not in other else "none")
    with pytest.raises(UserError, match="no score in quiz"):
        choose(run, wanted)


def test_a_checkpoint_without_a_score_is_named_with_its_reason(run: RunFolder) -> None:
    evaluate(run, 10)
    log_event(run.events, "evaluation", checkpoint="step-5", run="e-5")
    log_event(run.events, "evaluation failed", checkpoint="step-15", why="the queue is full")
    with pytest.raises(UserError) as caught:
        choose(run, QUIZ)
    assert caught.value.message == (
        "run a b: no score in quiz of step-5 (its evaluation left none: hpclaunch why e-5), "
        "step-15 (not evaluated: the queue is full)"
    )
    assert caught.value.fix == (
        "evaluate each: hpclaunch eval 'a b' --checkpoint step-5 --tasks quiz --limit 4 --no-base; "
        "without them: hpclaunch best 'a b' --evaluated-only"
    )
    only = Best(task="quiz", limit=4, evaluated_only=True)
    assert choose(run, only).name == "step-10"


def test_without_any_score_nothing_is_chosen(run: RunFolder) -> None:
    with pytest.raises(UserError, match="no score in quiz of step-5"):
        choose(run, Best(task="quiz", evaluated_only=True))
    with pytest.raises(UserError, match="no checkpoint to choose from"):
        choose(RunFolder(run.root / "none"), QUIZ)


def test_a_checkpoint_that_was_removed_still_counts_and_is_never_replaced(run: RunFolder) -> None:
    for step in (5, 10, 15):
        evaluate(run, step, acc=-step)
    (run.checkpoints / "step-5").rmdir()
    with pytest.raises(UserError, match=r"step-5 has the best acc of quiz .* is not in"):
        choose(run, QUIZ)
    log_event(run.events, "checkpoint damaged", path="step-5")
    assert choose(run, QUIZ).name == "step-10", "the run itself has given it up"


def test_the_best_so_far_is_kept(run: RunFolder) -> None:
    by_task = ["evaluate.every=checkpoint", "evaluate.tasks=[quiz]", "evaluate.limit=4"]
    recipe = load("tiny", [*by_task, "checkpoints.best=quiz/acc"])
    assert best_so_far(recipe, run) is None
    evaluate(run, 5, acc=0.9)
    evaluate(run, 10)
    assert best_so_far(recipe, run) == "step-5"
    assert best_so_far(load("tiny", ["checkpoints.best=eval_loss"]), run) is None
