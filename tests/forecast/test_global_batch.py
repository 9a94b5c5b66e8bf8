"""Batch and accumulation follow from the global batch, the ranks and the GPUs' memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hpclaunch.forecast.auto import resolve_auto
from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.forecast.global_batch import resolve_batch
from hpclaunch.forecast.recomputation import MARGIN, resolve_level
from hpclaunch.forecast.scaling import forecast_over
from hpclaunch.recipe.global_batch import ACCUMULATION, BATCH
from hpclaunch.recipe.load import load
from hpclaunch.site.load import load_site


def request(gpu: str | None, *words: str, nodes: int = 1, gpus: int = 1) -> PredictionRequest:
    recipe = load("llama3.1-8b-lora", ["training.global_batch=32", *words])
    return PredictionRequest(recipe, load_site("generic"), nodes, gpus, gpu, network_gb_s=25)


@pytest.mark.parametrize(("nodes", "gpus"), [(1, 1), (1, 8), (2, 8), (4, 8)])
@pytest.mark.parametrize("gpu", ["a100_40", "h200", None])
def test_a_step_learns_from_as_much_on_any_gpus(gpu: str | None, nodes: int, gpus: int) -> None:
    asked = request(gpu, nodes=nodes, gpus=gpus)
    asked = dataclasses.replace(asked, recipe=resolve_batch(asked, {}))
    made: Any = forecast(asked, {}, ask_hub=False)
    assert made.workload.samples_per_step == 32
    assert made.workload.samples_per_step == (
        nodes * gpus * asked.recipe.training[BATCH] * asked.recipe.training[ACCUMULATION]
    )


def test_the_batch_follows_the_memory_beside_the_recomputation() -> None:
    sizes = {}
    for gpu in ("a100_40", "a100_80", "h200"):
        asked = request(gpu)
        asked = dataclasses.replace(asked, recipe=resolve_batch(asked, {}))
        asked = dataclasses.replace(asked, recipe=resolve_level(asked, {}))
        made: Any = forecast(asked, {}, ask_hub=False)
        assert made.estimate.memory.total <= MARGIN * made.estimate.usable_bytes
        assert asked.recipe.performance.activation_checkpointing == "none"  # not for a larger batch
        sizes[gpu] = asked.recipe.training[BATCH]
    assert sizes["a100_40"] < sizes["a100_80"] <= sizes["h200"]


def test_another_sharding_keeps_it() -> None:
    asked = request("a100_80", nodes=2, gpus=4)
    asked = dataclasses.replace(asked, recipe=resolve_batch(asked, {}))
    training = resolve_auto(asked, {}, sharding=True, batch=True).training
    assert 8 * training[BATCH] * training[ACCUMULATION] == 32


def test_a_range_of_nodes_keeps_it_and_says_where_it_cannot() -> None:
    made = forecast_over(request("a100_80", gpus=4), [1, 2, 3, 4], "a100_80", {})
    for point in made.points:
        if point.nodes == 3:
            assert point.best is None
            assert point.problem == (
                "a global batch of 32 cannot be divided over 12 GPUs: 24 or 36 can"
            )
            continue
        assert point.best
        layout = point.best.candidate
        rows = layout.micro_batch_size * layout.gradient_accumulation_steps
        assert rows * 4 * point.nodes == 32
    steps = {point.best.estimate.steps for point in made.points if point.best}
    assert len(steps) == 1  # an epoch has as many on any of them
