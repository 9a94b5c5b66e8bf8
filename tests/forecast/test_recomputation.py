"""`auto`: what the backward pass computes again follows the GPU's memory."""

from __future__ import annotations

from typing import Any

import pytest

from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.forecast.recomputation import MARGIN, resolve_level
from hpclaunch.recipe.load import load
from hpclaunch.site.load import load_site


def request(gpu: str | None, *words: str, nodes: int = 1, gpus: int = 1) -> PredictionRequest:
    recipe = load("llama3.1-8b-lora", ["training.max_length=4096", *words])
    return PredictionRequest(recipe, load_site("generic"), nodes, gpus, gpu)


@pytest.mark.parametrize(
    ("gpu", "batch", "level"),
    [
        ("h200", 2, "none"),
        ("h100", 2, "none"),
        ("a100_40", 1, "none"),
        ("a100_40", 2, "mlp"),
        ("a100_40", 4, "whole"),
    ],
)
def test_the_fastest_level_that_fits_is_taken(gpu: str, batch: int, level: str) -> None:
    asked = request(gpu, f"training.per_device_train_batch_size={batch}")
    chosen = resolve_level(asked, {})
    assert chosen.performance.activation_checkpointing == level
    assert chosen.training["gradient_checkpointing"] is (level == "whole")
    made: Any = forecast(PredictionRequest(chosen, asked.site, 1, 1, gpu), {}, ask_hub=False)
    assert made.estimate.memory.total <= MARGIN * made.estimate.usable_bytes


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        (None, ()),
        ("h200", ("training.gradient_checkpointing=true",)),
        ("h200", ("performance.activation_checkpointing=mlp",)),
        ("h200", ("model.name=owner/nobody-knows",)),
        ("a100_40", ("training.per_device_train_batch_size=64",)),
    ],
    ids=("unknown GPU", "TRL's field", "level", "unknown model", "nothing fits"),
)
def test_what_is_set_or_unknown_stays(gpu: str | None, words: tuple[str, ...]) -> None:
    asked = request(gpu, *words)
    assert resolve_level(asked, {}) == asked.recipe


def test_layers_that_are_not_fused_have_no_level_between() -> None:
    asked = request(
        "a100_40", "training.per_device_train_batch_size=2", "performance.fused_lora=false"
    )
    assert resolve_level(asked, {}).performance.activation_checkpointing == "whole"
