"""The same fine-tune over several numbers of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import Forecast, Question, forecast
from hpclaunch.predict.scale import Point, scale


@dataclass(frozen=True)
class Range:
    """The same fine-tune over several numbers of nodes of one kind."""

    made: Forecast
    """On the first number of nodes."""
    points: tuple[Point, ...]


def forecast_over(
    question: Question, numbers: Sequence[int], kind: str | None, environment: Mapping[str, str]
) -> Range:
    """Return a point for each number of nodes. Raises UserError as forecast, or without a GPU."""
    made = forecast(replace(question, gpu=kind), environment, ask_hub=True)
    if made.card is None or made.machine is None:
        raise UserError("a range of nodes needs the GPU's kind", "add --gpu KIND")
    points = scale(made.load, made.now, made.work, made.card, made.machine, numbers)
    return Range(made, tuple(points))
