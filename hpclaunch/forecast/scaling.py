"""The same fine-tune over several numbers of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import Forecast, PredictionRequest, forecast
from hpclaunch.frozen import frozen
from hpclaunch.predict.scale import ScalePoint, scale
from hpclaunch.recipe.global_batch import FIELD, follows_global_batch


@frozen
class NodeSweep:
    """The same fine-tune over several numbers of nodes of one kind."""

    first: Forecast
    """On the first number of nodes."""
    points: tuple[ScalePoint, ...]


def forecast_over(
    request: PredictionRequest,
    numbers: Sequence[int],
    kind: str | None,
    environment: Mapping[str, str],
) -> NodeSweep:
    """Return a point for each number of nodes. Raises UserError as forecast, or without a GPU."""
    predicted = forecast(replace(request, gpu=kind), environment, ask_hub=True)
    if predicted.gpu is None or predicted.hardware is None:
        raise UserError("a range of nodes needs the GPU type", "add --gpu TYPE")
    points = scale(
        predicted.training,
        predicted.candidate,
        predicted.workload,
        predicted.gpu,
        predicted.hardware,
        numbers,
        request.recipe.training.get(FIELD) if follows_global_batch(request.recipe) else None,
    )
    return NodeSweep(predicted, tuple(points))
