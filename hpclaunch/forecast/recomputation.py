"""`performance.activation_checkpointing: auto`: the fastest level that fits with a margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import Forecast, PredictionRequest, forecast
from hpclaunch.predict.estimate import Estimate
from hpclaunch.recipe.recomputation import can_recompute_mlps, set_level
from hpclaunch.recipe.schema import Level, Recipe

MARGIN = 0.9
"""Share of a GPU's usable memory that auto fills at most: predictions were off by up to 7%."""

WORTH_MEMORY = 0.98
"""Ratio of step times below which a level is worth the memory that it takes more."""


def resolve_level(request: PredictionRequest, environment: Mapping[str, str]) -> Recipe:
    """Return the recipe with its level of activation checkpointing chosen, where it is auto.

    The level stays auto, which recomputes whole layers, where nothing can be predicted or no level
    fits with the margin.
    """
    recipe = request.recipe
    if recipe.performance.activation_checkpointing != "auto":
        return recipe
    best: tuple[float, Level] | None = None
    levels: tuple[Level, ...] = ("whole", "mlp", "none")  # from the least memory to the most
    for level in levels:
        if level == "mlp" and not can_recompute_mlps(recipe):
            continue
        try:
            made = _with_level(request, level, environment)
        except UserError:  # said by whoever needs the prediction
            return recipe
        if level == "mlp" and not made.estimate.training.fused_lora:
            continue
        if fits_with_margin(made.estimate):
            seconds = predicted_seconds(made.estimate)
            if best is None or seconds < WORTH_MEMORY * best[0]:
                best = (seconds, level)
    return recipe if best is None else set_level(recipe, best[1])


def fits_with_margin(made: Estimate) -> bool:
    """Return whether a step leaves a tenth of the GPU's memory free; False where it is unknown."""
    if made.usable_bytes is None or made.fits is not True:
        return False
    return made.memory.total <= MARGIN * made.usable_bytes


def _with_level(
    request: PredictionRequest, level: Level, environment: Mapping[str, str]
) -> Forecast:
    changed = replace(request, recipe=set_level(request.recipe, level))
    return forecast(changed, environment, ask_hub=False)


def predicted_seconds(made: Estimate) -> float:
    """Return the step time, its compute alone where the network is not known."""
    if made.step is None:
        return 0.0
    return made.step.compute if made.step.seconds is None else made.step.seconds
