"""`checkpoints.best`: refused where no evaluation could choose a checkpoint."""

from __future__ import annotations

from hpclaunch.document import Document
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Data, Recipe


def validates(data: Data) -> bool:
    """Return whether a recipe's data has a part to validate on."""
    names = (name for name in data.__struct_fields__ if name.startswith("validation"))
    return any(bool(getattr(data, name)) for name in names)


def check_best(document: Document, recipe: Recipe) -> None:
    """Refuse `checkpoints.best` in a recipe that evaluates nothing. Raises UserError."""
    best = recipe.checkpoints.best
    if best is None:
        return
    where = document.where(("checkpoints", "best"))
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
