"""Fields of `training` that a recipe's objective refuses."""

from __future__ import annotations

from typing import Any

from hpclaunch.document import Document
from hpclaunch.errors import UserError, nearest
from hpclaunch.recipe.objectives import OBJECTIVES, Objective

TEMPLATE_FIELDS = {"chat_template_path": ["null", "str"], "eos_token": ["null", "str"]}
"""Fields of SFTConfig that hpclaunch itself applies, for every objective."""


def check_field(where: str, key: str, value: Any, objective: Objective) -> None:
    """Refuse a field that the objective cannot have, or a loss that is none of its own.

    `where`: the field's place. Raises UserError.
    """
    spec = OBJECTIVES[objective]
    if key in spec.refused:
        raise UserError(
            f"{where}: objective {objective} does not take training.{key}", spec.refused[key]
        )
    losses = spec.losses
    if key == "loss_type" and losses:
        for name in value if isinstance(value, list) else [value]:
            if name not in losses:
                raise UserError(
                    f"{where}: training.loss_type: objective {objective} has no loss {name!r}",
                    nearest(str(name), losses),
                )


def check_micro_batch(document: Document, section: dict[str, Any], objective: Objective) -> None:
    """Refuse micro-batches of one sample where the KL comes from the others. Raises UserError."""
    key = "per_device_train_batch_size"
    spec = OBJECTIVES[objective]
    if spec.estimates_kl(section) and section.get(key) == 1:
        others = "".join(
            f", or training.loss_type: {loss}, which needs none" for loss in spec.losses_without_kl
        )
        raise UserError(
            f"{document.where(('training', key))}: training.{key}: 1 leaves objective {objective} "
            "no other sample of a micro-batch to estimate the KL from",
            f"set at least 2{others}",
        )
