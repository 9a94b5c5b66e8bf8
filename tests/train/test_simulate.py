"""A step simulated over tensors without values: what it says, and that the closed form agrees."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hpclaunch.forecast.simulate import REFUSED
from hpclaunch.predict.memory import GIB, memory
from tests.predict.shapes import RANK, SHAPES, load_for
from tests.train.running import program

pytestmark = pytest.mark.train


def simulated(row: dict[str, Any], **more: Any) -> int:
    request = {
        "config": {**SHAPES[row["model"]], "num_hidden_layers": row["layers"]},
        "method": row["method"],
        "lora": {"r": RANK},
        "sharding": row["sharding"],
        "shards": row["shards"],
        "micro_batch_size": 1,
        "seq_len": row["length"],
        "activation_checkpointing": row["checkpointing"],
        "mask": row.get("mask", True),
        "attention": row.get("attention"),
        **more,
    }
    outcome = program("hpclaunch.train.simulation.simulate", stdin=json.dumps(request))
    assert outcome.code == 0, outcome.said
    total: int = json.loads(outcome.out)["bytes"]["Total"]
    return total


def row(method: str, sharding: str = "full", shards: int = 4, **more: Any) -> dict[str, Any]:
    return {
        "model": "small", "layers": 4, "method": method, "sharding": sharding, "shards": shards,
        "length": 1024, "checkpointing": True, **more,
    }  # fmt: skip


CASES = [
    row("lora"), row("qlora", mask=False), row("full", attention="eager"),
    row("lora", "none", 1, mask=False, checkpointing=False), row("full", "none", 1),
    row("lora", model="small-experts"), row("full", model="small-experts", layers=6),
    row("lora", shards=16, model="small-experts"),
    row("lora", model="small-sinks", attention="eager", checkpointing=False),
    row("lora", model="small-sinks", attention="eager", length=2048),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case['model']}-{case['method']}-{case['shards']}x"
)
def test_the_form_agrees_with_this_machines_libraries(case: dict[str, Any]) -> None:
    assert memory(load_for(case)).tensors == pytest.approx(simulated(case), rel=0.05)


def test_fused_layers_without_activation_checkpointing_as_measured_on_an_h200() -> None:
    """Llama 3.1 8B, 2 rows of 4,096 packed tokens: 40.15 GiB, docs/evidence/gpu.md.

    A kernel for CPUs repeats keys and values for each head, and PyTorch's tracker keeps what a GPU
    lets go: 6.7 GiB more in all.
    """
    measured = row("lora", model="8b", layers=32, shards=1, length=4096, checkpointing=False)
    packed = {"mask": False, "fused_lora": True, "micro_batch_size": 2}
    assert simulated(measured, **packed) / GIB == pytest.approx(40.15, rel=0.02)


def test_fused_layers_run_over_4_bit_weights_too() -> None:
    case = row("qlora", mask=False, checkpointing=False)
    fused = memory(replace(load_for(case), fused_lora=True)).tensors
    assert simulated(case, fused_lora=True) == pytest.approx(fused, rel=0.05)
    assert fused < 0.8 * memory(load_for(case)).tensors


@pytest.mark.parametrize(
    ("method", "every", "layers", "fused"),
    [("lora", 2, 20, True), ("lora", 3, 6, False), ("full", 3, 6, False)],
)
def test_the_form_agrees_where_every_nth_layer_is_computed_again(
    method: str, every: int, layers: int, *, fused: bool
) -> None:
    """Of many layers few are simulated, as elsewhere."""
    case = row(method, layers=layers, mask=False)
    step = replace(load_for(case), every_n_layers=every, fused_lora=fused)
    found = simulated(case, every_n_layers=every, fused_lora=fused)
    assert memory(step).tensors == pytest.approx(found, rel=0.05)
    assert memory(replace(step, every_n_layers=1)).tensors < 0.9 * found


def test_many_layers_follow_from_few() -> None:
    """Two runs of few layers give a deep model's peak: held against the whole of it."""
    deep = row("lora", layers=8)
    whole = simulated(deep, layers=8)
    assert simulated(deep) == pytest.approx(whole, rel=0.005)


def test_a_config_is_read_as_the_trainer_reads_it_and_every_list_of_layers_is_cut() -> None:
    """Transformers writes infinity as a mapping, which no constructor takes."""
    from hpclaunch.train.simulation.few_layers import model_cut

    config = {
        "model_type": "glm_moe_dsa", "hidden_size": 64, "intermediate_size": 64, "vocab_size": 64,
        "num_hidden_layers": 24, "num_attention_heads": 2, "n_routed_experts": 4,
        "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 21, "rope_theta": {"__float__": "Infinity"},
    }  # fmt: skip
    request = {"config": config, "method": "full", "activation_checkpointing": True}
    depth, cut = model_cut(request)
    assert depth == 24
    assert cut is not None


INDEXER: dict[str, Any] = {
    "model_type": "glm_moe_dsa", "hidden_size": 64, "intermediate_size": 64, "vocab_size": 64,
    "moe_intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "n_routed_experts": 4, "num_experts_per_tok": 2, "q_lora_rank": 16,
    "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16,
    "index_topk": 8, "index_head_dim": 32, "index_n_heads": 2,
}  # fmt: skip
NEVER_RUN = {"model_type": "mbart", "d_model": 32, "decoder_layers": 1, "encoder_layers": 1,
             "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "vocab_size": 64}  # fmt: skip
BERT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "vocab_size": 64, "is_decoder": True}  # fmt: skip
PART = {"hidden_size": 32, "hidden_size_global": 32, "num_attention_heads": 2,
        "num_hidden_layers": 1, "intermediate_size": 32}  # fmt: skip
BLT = {
    "model_type": "blt",
    "encoder_hash_byte_group_vocab": 64,
    **{f"{part}_config": PART for part in ("patcher", "encoder", "decoder", "global")},
}
DBRX = {"model_type": "dbrx", "d_model": 32, "n_heads": 2, "n_layers": 1, "vocab_size": 64,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2}}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "refusal"),
    [
        (INDEXER, None),
        (BERT, f"{REFUSED}FSDP cannot shard it"),
        ({**BERT, "model_type": "megatron-bert"}, f"{REFUSED}FSDP cannot shard it"),
        ({**INDEXER, "hidden_size": "wide"}, f"{REFUSED}it cannot be built"),
        (NEVER_RUN, None),
        (BLT, f"{REFUSED}its forward pass fails"),
        (DBRX, None),
    ],
)
def test_a_model_is_simulated_or_refused_for_what_the_job_would_fail_of(
    config: dict[str, Any], refusal: str | None
) -> None:
    """An indexer reads the mask, which other models go without where no sample is padded.

    The decoder alone of MBart never runs its attention to the encoder. BLT, which has no one
    number of layers, adds to its embeddings in place. DBRX's experts loop over those with tokens.
    """
    request = {
        "config": config, "method": "lora", "lora": {"r": 2}, "sharding": "full", "shards": 2,
        "micro_batch_size": 1, "seq_len": 32, "activation_checkpointing": True, "mask": False,
    }  # fmt: skip
    outcome = program("hpclaunch.train.simulation.simulate", stdin=json.dumps(request))
    if refusal is None:
        assert json.loads(outcome.out)["bytes"]["Total"]
        return
    assert outcome.code == 2
    assert outcome.said.splitlines()[-1].startswith(refusal)


def test_attention_that_is_eager_unasked_is_simulated_at_the_length_asked_for() -> None:
    """Gemma 2's is, and is no loop over tokens: its scores grow with a sample's square."""
    case = row("lora", model="small-capped", attention="eager", mask=False, checkpointing=False)
    found = simulated(case, attention="auto")
    assert memory(load_for(case)).tensors == pytest.approx(found, rel=0.05)


def test_the_state_is_that_of_the_optimizer() -> None:
    case = row("full", "none", 1, layers=2, length=64)
    saved = simulated(case) - simulated(case, optimizer_bytes=2.0)
    assert saved == pytest.approx(6 * load_for(case).model.parameters, rel=0.02)
