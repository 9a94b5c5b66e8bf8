"""A model's config in GGUF's keys: sizes, rotary embeddings, sliding windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np

from hpclaunch.errors import UserError

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
}
"""By the model type of Transformers; llama.cpp reads Mistral as Llama."""
GEMMA3_PERIOD = 6
"""Every so many layers of Gemma 3 one attends to all tokens; llama.cpp has it built in."""


def architecture(config: Mapping[str, Any]) -> Any:
    """Return GGUF's architecture of a model's config. Raises UserError where there is none here."""
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise UserError(
            f"model type {kind!r} cannot be written as GGUF here",
            f"those that can: {', '.join(ARCHITECTURES)}",
        )
    if config.get("quantization_config"):
        raise UserError("the model is quantized already", "take the unquantized one")
    return ARCHITECTURES[kind]


def head_dimension(config: Mapping[str, Any]) -> int:
    """Return the size of an attention head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def add_parameters(writer: Any, config: Mapping[str, Any], rows: int) -> Any | None:
    """Write the sizes and the rotary embeddings. Raises UserError for what llama.cpp cannot read.

    `rows`: of the embeddings. Returns the factors of Llama 3's rotary frequencies, which are a
    tensor of their own; None for others.
    """
    arch, heads = architecture(config), config["num_attention_heads"]
    dimension = head_dimension(config)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(dimension)
    writer.add_value_length(dimension)
    writer.add_vocab_size(rows)
    writer.add_rope_dimension_count(dimension)
    rope = _rope(config)
    if arch == gguf.MODEL_ARCH.GEMMA3:
        _add_gemma3(writer, config, rope, dimension)
    whole = rope.get("full_attention", rope)
    writer.add_rope_freq_base(whole["rope_theta"])
    return _add_scaling(writer, whole, arch, dimension)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rotary embeddings' settings, as Transformers 5 names them."""
    named = config.get("rope_parameters")
    if named:
        return dict(named)
    scaling = config.get("rope_scaling") or {}
    return {**scaling, "rope_theta": config.get("rope_theta", 10000.0)}


def _add_scaling(writer: Any, rope: Mapping[str, Any], arch: Any, dimension: int) -> Any | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "llama3" and arch == gguf.MODEL_ARCH.LLAMA:
        return llama3_factors(rope, dimension)
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif kind != "default":
        raise UserError(
            f"rotary embeddings of type {kind!r} cannot be written as GGUF here",
            "those that can: default, llama3 (Llama), linear, yarn",
        )
    return None


def _add_gemma3(
    writer: Any, config: Mapping[str, Any], rope: Mapping[str, Any], dimension: int
) -> None:
    layers = config["num_hidden_layers"]
    expected = [
        "full_attention" if number % GEMMA3_PERIOD == 0 else "sliding_attention"
        for number in range(1, layers + 1)
    ]
    if config.get("layer_types", expected) != expected:
        raise UserError(
            f"this Gemma 3 does not attend to all tokens in every {GEMMA3_PERIOD}th layer, which "
            "llama.cpp takes for granted"
        )
    if config.get("query_pre_attn_scalar", dimension) != dimension:
        raise UserError("this Gemma 3's attention scale (query_pre_attn_scalar) is not llama.cpp's")
    local = rope.get("sliding_attention", {})
    writer.add_sliding_window(config["sliding_window"])
    writer.add_rope_freq_base_swa(
        local.get("rope_theta", config.get("rope_local_base_freq", 10000.0))
    )


def llama3_factors(rope: Mapping[str, Any], dimension: int) -> Any:
    """Return by what each rotary frequency is divided: 1 for short waves, `factor` for long ones.

    Between the two it is interpolated, as Transformers and llama.cpp do.
    """
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    length, factor = rope["original_max_position_embeddings"], rope["factor"]
    steps = np.arange(0, dimension, 2, dtype=np.float32) / dimension
    wavelengths = 2 * math.pi * np.float32(rope["rope_theta"]) ** steps
    smooth = np.clip((length / wavelengths - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
