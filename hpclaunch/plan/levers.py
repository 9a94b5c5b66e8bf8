"""Switches of `performance:` against the machine: what its GPUs, or its CPUs, cannot do."""

from __future__ import annotations

from typing import Literal

from hpclaunch.errors import UserError
from hpclaunch.recipe.levers import switched_on
from hpclaunch.recipe.schema import Recipe
from hpclaunch.site.load import gpus

FP8_TYPES = ("h100", "h200", "gh200", "b200", "gb200", "b300", "gb300")
"""GPU types, or their first words, whose tensor cores take FP8 and which torchao's training is for:
Hopper and later."""


def check_machine(recipe: Recipe, gpu: str | None, device: Literal["gpu", "cpu"]) -> None:
    """Refuse switches that the job's processors cannot do, by name. Raises UserError.

    `gpu`: its type; None: not known.
    """
    performance = recipe.performance
    if device == "cpu":
        for key in switched_on(performance):
            if key != "compile":
                raise UserError(f"performance.{key} needs a GPU", f"leave performance.{key} out")
        return
    if performance.fp8 and gpu is None:
        raise UserError("performance.fp8 needs to know the GPU", "add --gpu TYPE")
    if performance.fp8 and gpu is not None and gpu.partition("_")[0] not in FP8_TYPES:
        kind = gpus().get(gpu)
        raise UserError(
            f"performance.fp8: {kind.name if kind else gpu} has no FP8 that this can train with",
            "take Hopper GPUs or later (h100, h200, b200), or leave performance.fp8 out",
        )
