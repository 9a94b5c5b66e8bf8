"""`training.global_batch`: batch and accumulation from the ranks and the memory of their GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import PredictionRequest
from hpclaunch.forecast.recomputation import WORTH_MEMORY, forecast_with_level, predicted_seconds
from hpclaunch.recipe.global_batch import divide, follows_global_batch, micro_batches
from hpclaunch.recipe.schema import Recipe


def resolve_batch(request: PredictionRequest, environment: Mapping[str, str]) -> Recipe:
    """Return the recipe with the batch and accumulation that its global batch leaves open.

    The per-device batch size is the one with the fastest step that fits with a margin, and the
    smaller one where a larger brings less than 2%. Where nothing can be predicted, or nothing fits
    so, it is small. Raises UserError where the global batch cannot be divided.
    """
    ranks = request.nodes * request.gpus_per_node
    recipe = request.recipe
    if not follows_global_batch(recipe):
        return recipe
    best: tuple[float, int] | None = None
    sizes = micro_batches(recipe, ranks)
    for size in sizes if len(sizes) > 1 else ():
        made = replace(request, recipe=divide(recipe, ranks, size))
        try:
            predicted = forecast_with_level(made, environment)
        except UserError:  # said by whoever needs the prediction
            break
        if predicted is None:
            break  # a larger one takes more
        seconds = predicted_seconds(predicted.estimate)
        if best is None or seconds < WORTH_MEMORY * best[0]:
            best = (seconds, size)
    return divide(recipe, ranks, None if best is None else best[1])
