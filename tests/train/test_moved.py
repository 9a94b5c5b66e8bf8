"""What layers move between their matrix products: the plan's count against PyTorch's operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hpclaunch.predict.families import architecture
from hpclaunch.predict.kernels import _HOOKS_BACKWARD, _HOOKS_FORWARD, Pass, passes
from hpclaunch.predict.layer_costs import FUSED_BACKWARD, GROUPED_BACKWARD, attention_backward
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.schema import MethodKind, Sharding
from tests.predict.shapes import RANK, SHAPES
from tests.train.moving import counted

pytestmark = pytest.mark.train

FEW, MORE, SHORT, LONG = 1, 2, 512, 1024
QWEN2 = {
    "model_type": "qwen2", "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 32000,
    "tie_word_embeddings": False,
}  # fmt: skip
QWEN3 = {**QWEN2, "model_type": "qwen3", "head_dim": 256, "num_key_value_heads": 4}
"""With norms of its heads, which are wider together than the model."""
CASES: list[tuple[dict[str, Any], MethodKind, Sharding, bool, str]] = [
    (SHAPES["small"], "lora", "none", True, "sdpa"),
    (SHAPES["small"], "lora", "none", False, "sdpa"),
    (SHAPES["small"], "lora", "full", True, "sdpa"),
    (SHAPES["small"], "full", "none", True, "sdpa"),
    (SHAPES["small"], "full", "full", True, "sdpa"),
    (SHAPES["small"], "full", "full", False, "eager"),
    (QWEN2, "lora", "none", True, "eager"),
    (QWEN3, "lora", "full", True, "masked"),
    (QWEN3, "full", "none", False, "sdpa"),
]

WITHIN_KERNEL = (FUSED_BACKWARD, GROUPED_BACKWARD)


def by_plan(config: dict[str, Any], layers: int, length: int, *how: Any) -> tuple[Pass, Pass]:
    method, sharding, again, attention = how
    model = architecture({**config, "num_hidden_layers": layers})
    adapter = model.adapter_parameters(RANK) if method == "lora" else 0
    shards = 1 if sharding == "none" else 2
    load = TrainingStep(
        model, method, adapter, sharding, shards, 1, length, activation_checkpointing=again,
        eager_attention=attention == "eager", mask="never" if attention == "sdpa" else "always",
    )  # fmt: skip
    forward, backward = passes(load)
    # The simulation's attention computes nothing: what a GPU's kernel does beside is not counted.
    within = [each for each in attention_backward(load) if each in WITHIN_KERNEL]
    beside = layers * load.tokens * sum(each.moved(load) for each in within)
    return forward, replace(backward, moved=backward.moved - beside)


@pytest.mark.parametrize(("config", "method", "sharding", "again", "attention"), CASES)
def test_a_layer_moves_what_the_plan_counts(
    config: dict[str, Any], method: MethodKind, sharding: Sharding, again: bool, attention: str
) -> None:
    how = method, sharding, again, attention
    shards = 1 if sharding == "none" else 2
    request = {
        "config": config, "method": method, "lora": {"r": RANK}, "shards": shards,
        "micro_batch_size": 1, "sharding": sharding, "activation_checkpointing": again,
        "double_quant": True, "attention": attention,
        "mask": attention != "sdpa",
    }  # fmt: skip
    counts, planned = {}, {}
    for layers in (FEW, MORE):
        found = counted(request, layers, (SHORT, LONG))
        for length, count in zip((SHORT, LONG), found, strict=True):
            counts[layers, length] = count
            planned[layers, length] = by_plan(config, layers, length, *how)
    for way in (0, 1):
        # What a layer adds, and of that what comes with the tokens, and what with the weights.
        short, long = (
            [
                made[MORE, length][way].moved - made[FEW, length][way].moved
                for made in (counts, planned)
            ]
            for length in (SHORT, LONG)
        )
        by_tokens = [more - less for more, less in zip(long, short, strict=True)]
        assert by_tokens[1] == pytest.approx(by_tokens[0], rel=0.04)
        of_weights = [2 * less - more for more, less in zip(long, short, strict=True)]
        assert of_weights[1] == pytest.approx(of_weights[0], rel=0.1, abs=2e7)
        kernels = counts[MORE, LONG][way].kernels - counts[FEW, LONG][way].kernels
        launches = planned[MORE, LONG][way].launches - planned[FEW, LONG][way].launches
        if sharding == "full":
            launches -= hooks(method, way)
        assert launches == pytest.approx(kernels, rel=0.03)


def hooks(method: MethodKind, way: int) -> int:
    """Return the launches that FSDP's hooks are taken for; they run few kernels."""
    return (_HOOKS_FORWARD, _HOOKS_BACKWARD)[way][method != "full"]
