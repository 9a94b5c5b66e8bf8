"""`--sharding auto` and `--batch auto` take what `plan --compare` recommends."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from hpclaunch.forecast.auto import auto_gain, resolve_auto
from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.predict.compare import Candidate, candidate_of, compare, fastest
from hpclaunch.recipe.load import load
from hpclaunch.recipe.recomputation import set_level
from hpclaunch.recipe.schema import Level
from hpclaunch.site.load import load_site

SITE = load_site("generic")
MACHINES = [
    *product((1,), (1, 4), ("a100_40", "h200"), (None,)),
    *product((4,), (1, 4), ("a100_40", "h200"), (1.25, 25.0)),
]
"""Nodes, GPUs of each, their type, GB/s between nodes."""
RECIPES = {
    "LoRA": ("llama3.1-8b-lora", ()),
    "unfused": ("llama3.1-8b-lora", ("performance.fused_lora=false",)),
    "70B LoRA": ("llama3-70b-lora", ()),
    "padded": ("llama3.1-8b-lora", ("training.packing=false",)),
}


def recommended(request: PredictionRequest) -> Candidate | None:
    made = forecast(request, {}, ask_hub=False)
    assert made.gpu is not None and made.hardware is not None
    _, fitting = compare(made.training, made.candidate, made.workload, made.gpu, made.hardware)
    best = fastest(fitting)
    return None if best is None else best.candidate


@pytest.mark.parametrize("name", RECIPES)
def test_auto_takes_what_a_comparison_recommends(name: str) -> None:
    reference, words = RECIPES[name]
    recipe = load(reference, list(words))
    fit = 0
    for nodes, gpus, kind, network in MACHINES:
        request = PredictionRequest(recipe, SITE, nodes, gpus, kind, network)
        best = recommended(request)
        if best is None:
            continue
        fit += 1
        auto = resolve_auto(request, {}, sharding=True, batch=True)
        assert candidate_of(auto) == best, (nodes, gpus, kind, network)
        # From any level that the recipe would have had, the comparison recommends the same.
        levels: tuple[Level, ...] = ("whole", "none")
        for level in levels:
            made = replace(request, recipe=set_level(recipe, level))
            assert recommended(made) == best, (level, nodes, gpus, kind, network)
            gain = auto_gain(forecast(replace(made, chosen_level=True), {}, ask_hub=False))
            assert gain is None or gain.choice.candidate == best, "what a submission says of auto"
    assert fit >= len(MACHINES) / 2


def test_auto_keeps_a_level_that_the_recipe_sets() -> None:
    recipe = load("llama3.1-8b-lora", ["performance.activation_checkpointing=whole"])
    request = PredictionRequest(recipe, SITE, 4, 4, "h200", 25.0)
    free = recommended(request)
    assert free is not None and free.level != "whole"
    auto = resolve_auto(request, {}, sharding=True, batch=True)
    assert candidate_of(auto).level == "whole"
