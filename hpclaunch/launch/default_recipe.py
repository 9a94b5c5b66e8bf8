"""A submission without a recipe: the default one where the GPUs hold it, else what to name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import predict
from hpclaunch.plan.plan import Plan
from hpclaunch.recipe import library
from hpclaunch.recipe.load import load

MOST = 4
"""Recipes that are named."""


def check_default_recipe(plan: Plan) -> None:
    """Refuse the recipe that nobody named unless these GPUs hold it. Raises UserError."""
    resources = plan.resources
    if plan.device == "cpu":
        raise UserError(
            f"no recipe is named, and the default, {library.DEFAULT}, is not for CPUs",
            f"name one: {library.TINY}",
        )
    problem = ""
    try:
        made = predict(plan)
        fits = made.estimate.fits if made else None
    except UserError as error:
        fits, problem = None, f": {error.message}"
    if fits:
        return
    where = f"{plan.nodes} x {plan.processes_per_node} {resources.gpu or 'GPUs'}"
    if fits is None:
        raise UserError(
            f"no recipe is named, and whether {where} hold the default, {library.DEFAULT}, is "
            f"unknown{problem}",
            "name the GPU type by --gpu, or a recipe (hpclaunch recipes ls)",
        )
    fitting = [name for name, _ in zip(_that_fit(plan), range(MOST), strict=False)]
    raise UserError(
        f"no recipe is named, and {where} do not hold the default, {library.DEFAULT}",
        f"name one that fits: {', '.join(fitting or [library.TINY])}",
    )


def _that_fit(plan: Plan) -> Iterator[str]:
    """Return the ready recipes that these GPUs hold, those of the default's family first."""

    family = library.DEFAULT.partition("-")[0]
    for name in sorted(library.names(), key=lambda name: (name.partition("-")[0] != family, name)):
        recipe = load(name)
        if recipe.model.name.startswith("builtin:"):  # to try things out, on any machine
            continue
        if _fits(replace(plan, recipe=recipe)):
            yield name


def _fits(plan: Plan) -> bool | None:
    """Return whether the GPUs hold a plan's recipe; None where that is not known."""
    try:
        made = predict(plan)
    except UserError:
        return None
    return made.estimate.fits if made else None
