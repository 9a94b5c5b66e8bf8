"""`checkpoints.best` is refused where nothing is evaluated."""

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.best import BestTask, best_task
from hpclaunch.recipe.load import load

BEST = "checkpoints.best=eval_loss"
EVALUATED = ["evaluate.every=checkpoint", "evaluate.tasks=[quiz, 'qu*', a/b]"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data.validation_split=null"], "checkpoints.best: eval_loss: there is no data to valid"),
        (["training.eval_strategy=no"], "training.eval_strategy: no, and checkpoints.best"),
        (["checkpoints.best=quiz"], "best: quiz is neither eval_loss nor one of evaluate.tasks"),
        ([*EVALUATED, "checkpoints.best=quizz"], "did you mean 'quiz'?"),
        ([*EVALUATED, "checkpoints.best=acc/quiz"], "best: acc/quiz is neither"),
        ([*EVALUATED, "checkpoints.best='qu*'"], "best: qu* stands for several tasks"),
        ([*EVALUATED, "checkpoints.best=quiz", "checkpoints.every_steps=0"], "no checkpoints to"),
    ],
)
def test_what_evaluates_nothing_has_no_best(more: list[str], message: str) -> None:
    with pytest.raises(UserError, match=r"^command line: ") as caught:
        load("tiny", [BEST, *more])
    assert message in str(caught.value)


def test_a_part_to_validate_on_will_do() -> None:
    assert load("tiny", [BEST]).checkpoints.best == "eval_loss"


@pytest.mark.parametrize(
    ("best", "task", "metric"),
    [
        ("quiz", "quiz", None),
        ("quiz/f1", "quiz", "f1"),
        ("a/b", "a/b", None),
        ("a/b/f", "a/b", "f"),
    ],
)
def test_a_task_with_or_without_its_metric(best: str, task: str, metric: str | None) -> None:
    none = ["data.validation_split=null", f"checkpoints.best={best}"]
    assert best_task(load("tiny", [*EVALUATED, *none])) == BestTask(task, metric)


def test_a_reward_model_has_no_score() -> None:
    with pytest.raises(UserError, match="a reward model writes nothing"):
        load("reward", [*EVALUATED, "checkpoints.best=quiz"])


@pytest.mark.parametrize("word", ["training.eval_strategy=steps", "training.eval_steps=5"])
def test_an_evaluation_that_is_typed_needs_data(word: str) -> None:
    with pytest.raises(UserError, match="there is no data to validate on"):
        load("tiny", [word, "data.validation_split=null"])
    load("tiny", [word])
