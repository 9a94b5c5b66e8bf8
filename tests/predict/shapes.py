"""Models that plans are tried on, and the rows of simulated.jsonl as loads."""

from __future__ import annotations

from typing import Any

from hpclaunch.predict.families import architecture
from hpclaunch.predict.training_step import TrainingStep

SHAPES: dict[str, dict[str, Any]] = {
    "8b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 128256, "tie_word_embeddings": False,
    },
    "70b": {
        "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "vocab_size": 128256, "tie_word_embeddings": False,
    },
    "8x7b": {
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_local_experts": 8, "num_experts_per_tok": 2,
        "vocab_size": 32000, "tie_word_embeddings": False,
    },
    "30b-a3b": {
        "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144,
        "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32,
        "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8,
        "vocab_size": 151936, "tie_word_embeddings": False,
    },
    "small": {
        "model_type": "llama", "hidden_size": 1024, "intermediate_size": 3584,
        "num_hidden_layers": 6, "num_attention_heads": 16, "num_key_value_heads": 4,
        "vocab_size": 32000, "tie_word_embeddings": False,
    },
    "small-wide-heads": {  # of which queries and keys have norms
        "model_type": "qwen3", "hidden_size": 2048, "intermediate_size": 6144,
        "num_hidden_layers": 12, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 2000, "tie_word_embeddings": False,
    },
    "small-experts": {
        "model_type": "mixtral", "hidden_size": 1024, "intermediate_size": 2048,
        "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 4,
        "num_local_experts": 8, "num_experts_per_tok": 2,
        "vocab_size": 32000, "tie_word_embeddings": False,
    },
    "small-capped": {
        "model_type": "gemma2", "hidden_size": 1024, "intermediate_size": 3584,
        "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 128, "vocab_size": 32000, "tie_word_embeddings": True,
    },
    "small-sinks": {
        "model_type": "gpt_oss", "hidden_size": 640, "intermediate_size": 640,
        "num_hidden_layers": 6, "num_attention_heads": 16, "num_key_value_heads": 2,
        "head_dim": 64, "num_local_experts": 8, "num_experts_per_tok": 4,
        "vocab_size": 32000, "tie_word_embeddings": False,
    },
}  # fmt: skip

RANK = 16


def load_for(row: dict[str, Any]) -> TrainingStep:
    """Return the load that a simulated row stands for; without `mask` its attention has one."""
    model = architecture({**SHAPES[row["model"]], "num_hidden_layers": row["layers"]})
    return TrainingStep(
        model=model,
        method=row["method"],
        adapter_parameters=0 if row["method"] == "full" else model.adapter_parameters(RANK),
        sharding=row["sharding"],
        shards=row["shards"],
        micro_batch_size=1,
        seq_len=row["length"],
        activation_checkpointing=row["checkpointing"],
        mask="always" if row.get("mask", True) else "never",
        eager_attention=row.get("attention") == "eager",
        fused_lora=row.get("fused", False),
        recomputed_mlps=row.get("mlps", False),
    )
