"""Tiny models and packed batches, as TRL's collator makes them."""

from __future__ import annotations

from typing import Any

SHAPE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 97, "pad_token_id": 0,
}  # fmt: skip
LENGTHS = (9, 5, 1, 12)
"""Tokens of the samples, one of them with nothing to learn from."""
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},
    "mistral": {"sliding_window": 4},
    "gemma2": {"sliding_window": 4, "query_pre_attn_scalar": 8},
    "gemma3_text": {"sliding_window": 4, "query_pre_attn_scalar": 8},
}
"""`model_type`s with windows shorter than the samples."""


def tiny_model(family: str, kernel: str, **more: Any) -> Any:
    """Return a model with random weights, the same for every kernel."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from hpclaunch.train.attention import register_varlen

    register_varlen()
    config = AutoConfig.for_model(family, **{**SHAPE, **FAMILIES.get(family, {}), **more})
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, attn_implementation=kernel
    )
    return model.train()


def samples(lengths: tuple[int, ...] = LENGTHS) -> list[Any]:
    """Return samples of random tokens."""
    import torch

    made = torch.Generator().manual_seed(5)
    return [torch.randint(1, SHAPE["vocab_size"], (length,), generator=made) for length in lengths]


def packed_batch(rows: list[Any]) -> dict[str, Any]:
    """Return one packed row of all samples, made by TRL's own collator."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    ids = [token for row in rows for token in row.tolist()]
    example = {"input_ids": ids, "labels": ids, "seq_lengths": [len(row) for row in rows]}
    return dict(collate([example]))
