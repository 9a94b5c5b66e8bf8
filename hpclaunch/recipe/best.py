"""`checkpoints.best`: refused where no evaluation could choose a checkpoint."""

from __future__ import annotations

from collections.abc import Collection

from hpclaunch.document import Document
from hpclaunch.errors import UserError, nearest
from hpclaunch.frozen import frozen
from hpclaunch.recipe.schema import Data, Recipe

EVAL_LOSS = "eval_loss"
"""What `checkpoints.best` is where the evaluation loss chooses; else it names a task."""


@frozen
class BestTask:
    """The score that chooses a checkpoint."""

    task: str
    """A task of lm-evaluation-harness."""
    metric: str | None
    """One of its metrics; None: its first."""


def best_by_loss(recipe: Recipe) -> bool:
    """Return whether the evaluation loss chooses the best checkpoint."""
    return recipe.checkpoints.best == EVAL_LOSS


def best_task(recipe: Recipe) -> BestTask | None:
    """Return the task whose score chooses the best checkpoint, None where no task does."""
    best = recipe.checkpoints.best
    if best is None or best == EVAL_LOSS:
        return None
    return parse_best_task(best, recipe.evaluate.tasks)


def parse_best_task(text: str, tasks: list[str]) -> BestTask:
    """Return what `TASK` or `TASK/METRIC` names; a task of `tasks` may have a `/` in its name."""
    task, _, metric = text.rpartition("/")
    if text in tasks or not task:
        return BestTask(text, None)
    return BestTask(task, metric or None)


EVALUATES = ("eval_strategy", "eval_steps")
"""Fields of `training` that say when to evaluate."""


def validates(data: Data) -> bool:
    """Return whether a recipe's data has a part to validate on."""
    names = (name for name in data.__struct_fields__ if name.startswith("validation"))
    return any(bool(getattr(data, name)) for name in names)


def check_evaluated(recipe: Recipe, typed: Collection[str]) -> None:
    """Refuse to evaluate on no data where that is typed. Raises UserError.

    `typed`: keys of the command line. A recipe's own data may have been replaced by other data.
    """
    key = next((each for each in EVALUATES if f"training.{each}" in typed), None)
    value = None if key is None else recipe.training.get(key)
    if value in (None, "no") or validates(recipe.data):
        return
    raise UserError(
        f"command line: training.{key}: {value}: there is no data to validate on",
        "set data.validation_split, data.validation or data.validation_fraction",
    )


def check_best(document: Document, recipe: Recipe) -> None:
    """Refuse `checkpoints.best` in a recipe that evaluates nothing. Raises UserError."""
    best = recipe.checkpoints.best
    if best is None:
        return
    where = document.where(("checkpoints", "best"))
    named = best_task(recipe)
    if named is not None:
        _check_task(f"{where}: checkpoints.best: {best}", named, recipe)
        return
    if not validates(recipe.data):
        raise UserError(
            f"{where}: checkpoints.best: {best}: there is no data to validate on",
            "set data.validation_split, data.validation or data.validation_fraction",
        )
    if recipe.training.get("eval_strategy", "epoch") == "no":
        where = document.where(("training", "eval_strategy"))
        raise UserError(
            f"{where}: training.eval_strategy: no, and checkpoints.best: {best} needs evaluations",
            "set training.eval_strategy: epoch or steps, or checkpoints.best: null",
        )


def _check_task(what: str, named: BestTask, recipe: Recipe) -> None:
    """Refuse a task by whose score no checkpoint could be chosen. Raises UserError."""
    tasks = recipe.evaluate.tasks
    if named.task not in tasks:
        raise UserError(
            f"{what} is neither {EVAL_LOSS} nor one of evaluate.tasks",
            nearest(named.task, [EVAL_LOSS, *tasks])
            if tasks
            else f"set evaluate: {{every: checkpoint, tasks: [{named.task}]}}, "
            f"or checkpoints.best: {EVAL_LOSS}",
        )
    if "*" in named.task:
        raise UserError(f"{what} stands for several tasks", "name one of them in both places")
    if not recipe.checkpoints.every_steps:
        raise UserError(
            f"{what}: there are no checkpoints to choose from", "set checkpoints.every_steps"
        )
    if recipe.objective_spec.scores:
        raise UserError(
            f"{what}: a reward model writes nothing that a task could score",
            f"set checkpoints.best: {EVAL_LOSS}",
        )
