"""Switches of `performance:` against the machine: what its GPUs, or its CPUs, cannot do."""

from __future__ import annotations

from typing import Literal

from hpclaunch.errors import UserError
from hpclaunch.recipe.levers import switched_on
from hpclaunch.recipe.schema import Recipe
from hpclaunch.site.load import gpus


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
    if performance.fp8:
        _check_fp8(gpu)


def _check_fp8(gpu: str | None) -> None:
    if gpu is None:
        raise UserError("performance.fp8 needs to know the GPU", "add --gpu TYPE")
    # A site may have a type that the catalogue has under its first word alone.
    kind = gpus().get(gpu) or gpus().get(gpu.partition("_")[0])
    if kind is not None and kind.fp8:
        return
    others = ", ".join(name for name, each in gpus().items() if each.fp8)
    raise UserError(
        f"performance.fp8: {kind.name} has no FP8 that this can train with"
        if kind is not None
        else f"performance.fp8: the GPU catalogue does not know {gpu}, nor whether it has FP8",
        f"take one of {others}, or leave performance.fp8 out",
    )
