"""`evaluate`: refused where its keys do not belong together."""

from __future__ import annotations

from hpclaunch.document import Document
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Recipe


def check_evaluate(document: Document, recipe: Recipe) -> None:
    """Refuse evaluations without tasks, and tasks without evaluations. Raises UserError."""
    evaluate = recipe.evaluate
    where = document.where(("evaluate",))
    if evaluate.every is not None and not evaluate.tasks:
        raise UserError(
            f"{where}: evaluate.every: {evaluate.every}: no task is named",
            "set evaluate.tasks: [hellaswag]",
        )
    if evaluate.tasks and evaluate.every is None:
        raise UserError(
            f"{where}: evaluate.tasks: nothing says when", "set evaluate.every: checkpoint"
        )
