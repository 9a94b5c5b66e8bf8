"""A plan that was simulated alone: of a model whose layers no closed form counts."""

from __future__ import annotations

from typing import Any

from hpclaunch.cli.plan_words import SHARDINGS, batch, gib
from hpclaunch.cli.text import Row, rows
from hpclaunch.forecast.simulate import SimulatedPlan
from hpclaunch.predict.compare import candidate_of
from hpclaunch.predict.estimate import SAFE
from hpclaunch.predict.from_recipe import seq_len_of
from hpclaunch.units import count


def render_simulated(made: SimulatedPlan) -> str:
    """Return the plan as text."""
    recipe, lay = made.request.recipe, candidate_of(made.request.recipe)
    tokens = count(seq_len_of(recipe))
    trained = f"{count(made.simulated.trained)} trainable ({recipe.method.kind})"
    need = f"needs {gib(made.total_bytes)} per GPU"
    if made.usable_bytes is None:
        verdict, style = f"{need}; the GPU type is unknown", ""
    else:
        usable = f"{gib(SAFE * made.usable_bytes)} usable"
        fits = "fits" if made.fits else f"does not fit at {tokens} tokens"
        verdict, style = f"{fits}: {need} of {usable}", "good" if made.fits else "bad"
    over = f" over {made.shards} GPUs" if lay.sharding != "none" and made.shards > 1 else ""
    lines: list[Row] = [
        ("model", f"{recipe.model.name}: {count(made.simulated.parameters)} parameters, {trained}"),
        (
            "layout",
            f"{SHARDINGS[lay.sharding]}{over}, {batch(lay)}, samples of {tokens} tokens",
        ),
        ("verdict", verdict, style),  # type: ignore[list-item]  # one of Style's words
        ("simulated", f"{gib(made.simulated.tensor_bytes)} of tensors at the peak of a step"),
        ("unknown", "step time: this family's layers are not counted", "warning"),
    ]
    return rows(lines)


def simulated_json(made: SimulatedPlan) -> dict[str, Any]:
    """Return the plan for programs: bytes; null where a figure is not known."""
    return {
        "model": made.request.recipe.model.name,
        "weights": made.simulated.parameters,
        "trained": made.simulated.trained,
        "nodes": made.request.nodes,
        "gpus_per_node": made.request.gpus_per_node,
        "fits": made.fits,
        "memory_bytes": {"total": made.total_bytes, "usable": made.usable_bytes},
        "simulated_bytes": made.simulated.tensor_bytes,
        "step": None,
        "seconds": None,
    }
