"""A forecast for programs: bytes, seconds, tokens; null where a figure is not known."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hpclaunch.forecast.forecast import Forecast
from hpclaunch.predict.compare import Choice, compare
from hpclaunch.predict.estimate import Estimate
from hpclaunch.predict.memory import trained


def forecast_json(made: Forecast, comparing: bool, simulated: int | None) -> dict[str, Any]:
    """Return everything that the text says."""
    found: dict[str, Any] = {
        "model": made.question.recipe.model.name,
        "weights": made.model.weights,
        "trained": trained(made.estimate.load),
        "nodes": made.question.nodes,
        "gpus_per_node": made.question.per_node,
        "gpu": made.card.name if made.card else None,
        "layout": asdict(made.now),
        **_figures(made.estimate),
        "checkpoint_seconds": made.checkpoint_seconds,
        "simulated_bytes": simulated,
        "measured": made.basis.measured,
        "assumed": made.basis.assumed,
        "unknown": made.unknown,
    }
    if comparing and made.card and made.machine:
        _, fitting = compare(made.load, made.now, made.work, made.card, made.machine)
        found["layouts"] = [_choice(each) for each in fitting]
    return found


def _figures(made: Estimate) -> dict[str, Any]:
    memory, step = made.memory, made.step
    return {
        "fits": made.fits,
        "longest_sample_tokens": made.longest,
        "memory_bytes": {
            **{name: value for name, value in asdict(memory).items() if name != "moment"},
            "total": memory.total,
            "usable": made.card,
        },
        "moment": memory.moment,
        "loading_bytes": made.loading,
        "step": step
        and {
            "seconds": step.seconds,
            "compute": step.compute,
            "launching": step.launching,
            "communication": step.communication,
            "optimizer": step.optimizer,
            "tokens_per_gpu_second": step.tokens_per_gpu,
            "mfu": step.of_peak,
        },
        "steps": made.steps,
        "seconds": made.seconds,
        "gpu_hours": made.gpu_hours,
        "checkpoint_bytes": made.checkpoint,
        "host_bytes": made.host,
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        **asdict(choice.layout),
        "reason": choice.reason,
        "memory_bytes": choice.estimate.memory.total,
        "step_seconds": choice.estimate.step and choice.estimate.step.seconds,
    }
