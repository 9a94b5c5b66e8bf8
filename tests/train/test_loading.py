"""Sharded loading leaves every rank with what loading whole and sharding leaves it with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.train.running import launch, make_run

pytestmark = pytest.mark.train

BF16 = "model.dtype=bfloat16"
SMALL: dict[str, Any] = {
    "vocab_size": 67, "hidden_size": 36, "intermediate_size": 35, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
EXPERTS = {
    "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 16,
}  # fmt: skip


def saved(folder: Path, family: str, **more: Any) -> Path:
    """Save a random model in several files."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    config = AutoConfig.for_model(family, **{**SMALL, **more})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder, max_shard_size="40KB")
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return each rank's comparison of all cases."""
    base = tmp_path_factory.mktemp("both")
    tied = saved(base / "tied", "llama", tie_word_embeddings=True)
    biased = saved(base / "biased", "qwen2", tie_word_embeddings=False)
    experts = saved(base / "experts", "qwen3_moe", **EXPERTS)
    full = ["method.kind=full", BF16]
    cases = {
        "full, tied": [f"model.name={tied}", *full],
        "full, biases": [f"model.name={biased}", *full],
        "full, experts": [f"model.name={experts}", *full],
        "lora, experts": [f"model.name={experts}", BF16],
        "lora, tied": [f"model.name={tied}", BF16],
        "lora, head trained": [
            f"model.name={biased}", BF16, "method.lora.modules_to_save=[lm_head]",
            "method.lora.bias=all",
        ],
        "lora, tokens": [
            f"model.name={biased}", BF16,
            "method.lora.trainable_token_indices={embed_tokens: [3, 5], lm_head: [5]}",
        ],
    }  # fmt: skip
    folder = make_run(base / "run", [BF16])
    (folder.root / "cases.json").write_text(json.dumps(cases), "utf-8")
    outcome = launch(folder, 2, program=("-m", "tests.train.load_both_ways"))
    assert outcome.code == 0, outcome.said
    return [json.loads((folder.root / f"rank-{n}.json").read_text("utf-8")) for n in range(2)]


@pytest.mark.parametrize(
    "case",
    ["full, tied", "full, biases", "full, experts", "lora, experts", "lora, tied",
     "lora, head trained", "lora, tokens"],
)  # fmt: skip
def test_each_rank_holds_the_same_bit_for_bit(compared: list[dict[str, Any]], case: str) -> None:
    for rank in compared:
        found = rank[case]
        assert found["deferred"] and found["log"] == ["each rank reads its own shard"]
        assert found["different"] == [] and found["parameters"] > 10
        assert found["optimized"], "the optimizer has the sharded parameters"
