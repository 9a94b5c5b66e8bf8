"""What a stage will take, as lines before it starts and in its dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpclaunch.cli.plan_words import gib
from hpclaunch.stages.need import Prediction, Unknown

if TYPE_CHECKING:
    from hpclaunch.cli.text import Row


def prediction_rows(made: Prediction | Unknown) -> list[Row]:
    """Return the prediction as label and text."""
    if isinstance(made, Unknown):
        return [("plan", f"unknown: {made.why}")]
    lines: list[Row] = [("plan", _verdict(made))]
    if made.memory is not None:
        parts = {
            "weights": made.memory.weights,
            "cache": made.memory.cache,
            "activations": made.memory.activations,
            "allocator, CUDA": made.memory.allocator + made.memory.context,
        }
        text = ", ".join(f"{name} {gib(number)}" for name, number in parts.items() if number)
        lines.append(("memory", text))
    lines.append(("host memory", _host(made)))
    lines += made.facts
    lines += [("assumed", each) for each in made.need.assumed]
    return lines


def _verdict(made: Prediction) -> str:
    if made.memory is None:
        need = f"needs {gib(made.host_bytes)} of memory"
        if made.fits is None:
            return need
        return f"{'fits' if made.fits else 'does not fit'}: {need} of {gib(made.granted_bytes)}"
    need = f"needs {gib(made.memory.total)} per GPU"
    shared = f"; {made.gpus} GPUs share the model" if made.gpus > 1 else ""
    if made.usable_bytes is None:
        return f"{need}; the GPU type is unknown{shared}"
    verdict = "does not fit" if made.fits is False else "fits"
    return f"{verdict}: {need} of {gib(made.usable_bytes)} usable{shared}"


def _host(made: Prediction) -> str:
    text = f"{gib(made.host_bytes)} per node"
    if made.need.more_bytes:
        text += f"; {gib(made.need.more_bytes)} more where there is room, to measure and compare"
    return text


def prediction_json(made: Prediction | Unknown) -> dict[str, Any]:
    """Return the prediction for programs: bytes, null where a figure is not known."""
    if isinstance(made, Unknown):
        return {"unknown": made.why}
    memory = made.memory
    return {
        "fits": made.fits,
        "gpus_per_copy": made.gpus or None,
        "gpu_bytes": None
        if memory is None
        else {
            "weights": memory.weights,
            "cache": memory.cache,
            "activations": memory.activations,
            "total": memory.total,
            "usable": made.usable_bytes,
        },
        "host_bytes": made.host_bytes,
        "host_bytes_more": made.need.more_bytes,
        "granted_bytes": made.granted_bytes,
        "facts": dict(made.facts),
        "assumed": list(made.need.assumed),
    }
