"""A forecast for programs: bytes, seconds, tokens; null where a figure is not known."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hpclaunch.forecast.auto import AutoGain, auto_gain
from hpclaunch.forecast.forecast import Forecast
from hpclaunch.predict.compare import Choice, compare
from hpclaunch.predict.estimate import Estimate


def forecast_json(made: Forecast, comparing: bool, simulated: int | None) -> dict[str, Any]:
    """Return all figures of the text: bytes, seconds, tokens."""
    figures: dict[str, Any] = {
        "model": made.request.recipe.model.name,
        "weights": made.model.parameters,
        "trained": made.estimate.training.trained_parameters,
        "nodes": made.request.nodes,
        "gpus_per_node": made.request.gpus_per_node,
        "gpu": made.gpu.name if made.gpu else None,
        "layout": asdict(made.candidate),
        "global_batch": made.workload.samples_per_step,
        **_figures(made.estimate),
        "checkpoint_seconds": made.checkpoint_seconds,
        "simulated_bytes": simulated,
        "measured": made.basis.measured,
        "assumed": made.basis.assumed,
        "unknown": made.unknown,
        "auto": _gain(auto_gain(made)),
    }
    if comparing and made.gpu and made.hardware:
        _, fitting = compare(made.training, made.candidate, made.workload, made.gpu, made.hardware)
        figures["layouts"] = [_choice(each) for each in fitting]
    return figures


def _gain(gain: AutoGain | None) -> dict[str, Any] | None:
    if gain is None:
        return None
    return {"arguments": gain.arguments, "factor": gain.factor, **_choice(gain.choice)}


def _figures(made: Estimate) -> dict[str, Any]:
    memory, step = made.memory, made.step
    return {
        "fits": made.fits,
        "longest_sample_tokens": made.longest_sample_tokens,
        "memory_bytes": {
            **{name: value for name, value in asdict(memory).items() if name != "phase"},
            "total": memory.total,
            "usable": made.usable_bytes,
        },
        "phase": memory.phase,
        "loading_bytes": made.loading_bytes,
        "step": step
        and {
            "seconds": step.seconds,
            "seconds_range": made.seconds_range,
            "compute": step.compute,
            "generation": step.generation,
            "launching": step.launch_wait,
            "communication": step.exposed_communication,
            "optimizer": step.optimizer,
            "tokens_per_gpu_second": step.tokens_per_second_per_gpu,
            "mfu": step.mfu,
        },
        "steps": made.steps,
        "seconds": made.seconds,
        "gpu_hours": made.gpu_hours,
        "server_gpu_hours": made.server_gpu_hours,
        "checkpoint_bytes": made.checkpoint_bytes,
        "sharded_loading": made.training.sharded_loading,
        "host_bytes": {
            "loading": made.host.loading,
            "training": made.host.training,
            "mapped": made.host.mapped,
            "node": made.node_memory_bytes,
        },
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        **asdict(choice.candidate),
        "reason": choice.reason,
        "fits": choice.estimate.fits,
        "memory_bytes": choice.estimate.memory.total,
        "host_bytes": choice.estimate.host.peak,
        "step_seconds": choice.estimate.step and choice.estimate.step.seconds,
        "step_seconds_range": choice.estimate.seconds_range,
    }
