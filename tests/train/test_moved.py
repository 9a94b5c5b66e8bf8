"""What layers move between their matrix products: the plan's count against PyTorch's operations."""

from __future__ import annotations

from typing import Any

import pytest

from hpclaunch.plan.architecture import architecture
from hpclaunch.plan.memory import Load
from hpclaunch.plan.work import Pass, passes
from hpclaunch.recipe.schema import MethodKind, Sharding
from tests.plan.shapes import RANK, SHAPES
from tests.train.moving import counted

pytestmark = pytest.mark.train

FEW, MORE, SHORT, LONG = 2, 3, 512, 1024
QWEN = {
    "model_type": "qwen2", "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 32000,
    "tie_word_embeddings": False,
}  # fmt: skip
CASES: list[tuple[dict[str, Any], MethodKind, Sharding, bool]] = [
    (SHAPES["small"], "lora", "none", True),
    (SHAPES["small"], "lora", "none", False),
    (SHAPES["small"], "lora", "full", True),
    (SHAPES["small"], "full", "none", True),
    (SHAPES["small"], "full", "full", True),
    (SHAPES["small"], "full", "full", False),
    (QWEN, "lora", "none", True),
    (QWEN, "full", "full", True),
]


def by_plan(config: dict[str, Any], layers: int, length: int, *how: Any) -> tuple[Pass, Pass]:
    method, sharding, again = how
    model = architecture({**config, "num_hidden_layers": layers})
    adapter = model.adapter(RANK) if method == "lora" else 0
    load = Load(model, method, adapter, sharding, 2, 1, length, checkpointing=again)
    return passes(load)


@pytest.mark.parametrize(("config", "method", "sharding", "again"), CASES)
def test_a_layer_moves_what_the_plan_counts(
    config: dict[str, Any], method: MethodKind, sharding: Sharding, again: bool
) -> None:
    how = method, sharding, again
    shards = 1 if sharding == "none" else 2
    question = {
        "config": config, "method": method, "lora": {"r": RANK}, "shards": shards, "samples": 1,
        "sharding": sharding, "checkpointing": again, "double": True,
    }  # fmt: skip
    found, told = {}, {}
    for layers in (FEW, MORE):
        for length in (SHORT, LONG):
            found[layers, length] = counted({**question, "tokens": length}, layers)
            told[layers, length] = by_plan(config, layers, length, *how)
    for way in (0, 1):
        # What a layer adds, and of that what comes with the tokens.
        moved = [
            (made[MORE, LONG][way].moved - made[FEW, LONG][way].moved)
            - (made[MORE, SHORT][way].moved - made[FEW, SHORT][way].moved)
            for made in (found, told)
        ]
        assert moved[1] == pytest.approx(moved[0], rel=0.04)
    kernels = sum(found[MORE, LONG][way].kernels - found[FEW, LONG][way].kernels for way in (0, 1))
    launches = sum(told[MORE, LONG][way].launches - told[FEW, LONG][way].launches for way in (0, 1))
    assert launches == pytest.approx(kernels, rel=0.05)


def test_autocast_copies_all_trained_weights_for_every_pass() -> None:
    """A full fine-tune on one GPU keeps them in 32 bits."""
    config = SHAPES["small"]
    question = {
        "config": config, "method": "full", "lora": {"r": RANK}, "shards": 1, "samples": 1,
        "sharding": "none", "checkpointing": True, "double": True,
    }  # fmt: skip
    found = {
        (layers, length): counted({**question, "tokens": length}, layers)
        for layers in (FEW, MORE)
        for length in (SHORT, LONG)
    }
    weights = architecture(config).layer_weights
    for way, passes_ in ((0, 1), (1, 2)):
        short, long = (
            found[MORE, length][way].moved - found[FEW, length][way].moved
            for length in (SHORT, LONG)
        )
        assert 2 * short - long == pytest.approx(6 * weights * passes_, rel=0.15)
