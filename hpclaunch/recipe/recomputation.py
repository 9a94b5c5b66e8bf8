"""Activation checkpointing as a recipe says it: by level, or by TRL's own fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Level, Recipe

FIELD = "gradient_checkpointing"
"""TRL's field: on or off. It has no name for what lies between."""


def last_word(document: dict[str, Any], typed: Mapping[str, Any]) -> None:
    """Remove from a file's data, in place, the one of level and field that the other overrides.

    `typed`: dotted keys from the command line.
    """
    places = {("performance", "activation_checkpointing"), ("training", FIELD)}
    set_now = {place for place in places if ".".join(place) in typed}
    for section, key in places - set_now if set_now else ():
        values = document.get(section)
        if isinstance(values, dict):
            values.pop(key, None)


def with_level(recipe: Recipe, training: dict[str, Any], *, own_program: bool = False) -> Recipe:
    """Return the recipe with its level and TRL's field in agreement.

    `training`: the recipe's section with defaults. TRL's fields, where the user set them, decide.
    Raises UserError where both are set and differ, or a level cannot be.
    """
    level, given = recipe.performance.activation_checkpointing, recipe.training.get(FIELD)
    if given is None and recipe.training.get(f"{FIELD}_kwargs"):
        given = True
    if given is None:  # of a program of the user's own, too: nothing is chosen for it
        given = training[FIELD] if level == "auto" or own_program else level == "whole"
    elif level == "auto":
        level = "whole" if given else "none"
    elif given != (level == "whole"):
        raise UserError(
            f"performance.activation_checkpointing: {level} and training.{FIELD}: "
            f"{str(bool(given)).lower()} contradict each other",
            f"leave training.{FIELD} out",
        )
    if level == "mlp" and not can_recompute_mlps(recipe):
        raise UserError(
            "performance.activation_checkpointing: mlp needs fused LoRA layers",
            "set it to whole, or performance.fused_lora: true with method.kind: lora or qlora",
        )
    return set_level(replace(recipe, training=training), level, recomputes=bool(given))


def can_recompute_mlps(recipe: Recipe) -> bool:
    """Return whether a recipe has the fused layers that the level `mlp` is made of."""
    return recipe.performance.fused_lora and recipe.method.kind != "full"


def set_level(recipe: Recipe, level: Level, *, recomputes: bool | None = None) -> Recipe:
    """Return the recipe with a level, and TRL's field to go with it."""
    whole = level == "whole" if recomputes is None else recomputes
    return replace(
        recipe,
        performance=replace(recipe.performance, activation_checkpointing=level),
        training={**recipe.training, FIELD: whole},
    )
