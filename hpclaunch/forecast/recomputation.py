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
    try:
        best = forecast_with_level(request, environment)
    except UserError:  # said by whoever needs the prediction
        return recipe
    return recipe if best is None else best.request.recipe


def forecast_with_level(
    request: PredictionRequest, environment: Mapping[str, str]
) -> Forecast | None:
    """Return the forecast of the recipe with its level chosen, None where none fits.

    A level that the recipe names is the only one tried. Raises UserError as `forecast` does.
    """
    recipe = request.recipe
    if recipe.performance.activation_checkpointing != "auto":
        made = forecast(request, environment, ask_hub=False)
        return made if fits_with_margin(made.estimate) else None
    best: Forecast | None = None
    levels: tuple[Level, ...] = ("whole", "mlp", "none")  # from the least memory to the most
    for level in levels:
        if level == "mlp" and not can_recompute_mlps(recipe):
            continue
        made = _with_level(request, level, environment)
        if level == "mlp" and not made.estimate.training.fused_lora:
            continue
        if not fits_with_margin(made.estimate):
            break  # the next level takes more
        if best is None or _worth_it(made.estimate, best.estimate):
            best = made
    return best


def _worth_it(more: Estimate, less: Estimate) -> bool:
    """Return whether a step that takes more memory is enough faster for it."""
    return predicted_seconds(more) < WORTH_MEMORY * predicted_seconds(less)


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
