"""Activation checkpointing of every n-th layer lies between all layers and none."""

from __future__ import annotations

from typing import Any

import pytest

from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.recipe.load import load
from hpclaunch.site.load import load_site


def step(*words: str) -> Any:
    recipe = load("llama3.1-8b-lora", words)
    request = PredictionRequest(recipe, load_site("generic"), 1, 1, "h200")
    return forecast(request, {}, ask_hub=False).estimate


@pytest.mark.parametrize("fused", ["true", "false"])
def test_memory_and_time_lie_where_the_layers_do(fused: str) -> None:
    base = f"performance.fused_lora={fused}"
    whole = step(base, "performance.activation_checkpointing=whole")
    none = step(base, "performance.activation_checkpointing=none")
    for number, share in ((2, 16 / 32), (3, 11 / 32), (40, 1 / 32)):
        some = step(
            base,
            "performance.activation_checkpointing=whole",
            f"performance.every_n_layers={number}",
        )
        assert some.step.compute == pytest.approx(
            share * whole.step.compute + (1 - share) * none.step.compute, rel=0.02
        )
        assert whole.memory.total < some.memory.total
        saved = none.memory.activations - whole.memory.activations
        more = some.memory.activations - whole.memory.activations
        assert more / saved == pytest.approx(1 - share, abs=0.15)
