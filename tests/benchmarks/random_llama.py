"""Random models of Llama's shape, written to disk tensor by tensor: a model need not fit memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.train.conftest import question

SHAPES: dict[str, dict[str, int]] = {
    "254m": {
        "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16,
        "num_attention_heads": 16, "num_key_value_heads": 4,
    },
    "1b": {
        "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 20,
        "num_attention_heads": 16, "num_key_value_heads": 4,
    },
    "3b": {
        "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
        "num_attention_heads": 24, "num_key_value_heads": 8,
    },
}  # fmt: skip
FILE_BYTES = 200_000_000
"""Of a file, and of what is held while the model is made."""
POOL = 2**22 + 1
"""Random numbers that are drawn: drawing all of them takes minutes."""


def build(folder: Path, size: str) -> None:
    """Save a random model of a size in bfloat16, with a tokenizer."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from hpclaunch.train.tiny_llama import Size, build_tokenizer

    tokenizer = build_tokenizer([" ".join(question(n)) for n in range(64)], Size(vocabulary=400))
    config = LlamaConfig(
        **SHAPES[size],
        vocab_size=32000,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    # Each tensor is a stretch of the same random numbers, from another place on.
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(1)).mul_(0.02).bfloat16()
    files: dict[str, str] = {}
    held: dict[str, Any] = {}
    state = model.state_dict()
    for number, (name, like) in enumerate(state.items(), start=1):
        held[name] = torch.ones(like.shape, dtype=torch.bfloat16)
        if like.ndim > 1:
            times = -(-like.numel() // POOL)
            held[name] = pool.roll(number * 9973).repeat(times)[: like.numel()].view(like.shape)
        if number == len(state) or sum(each.nbytes for each in held.values()) >= FILE_BYTES:
            file = f"model-{len(set(files.values())) + 1:05d}.safetensors"
            save_file(held, folder / file, {"format": "pt"})
            files |= dict.fromkeys(held, file)
            held = {}
    parameters = sum(each.numel() for each in state.values())
    index = {"metadata": {"total_size": 2 * parameters}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    print(f"{size}: {parameters:,} parameters", flush=True)
