"""How much layers keep for the backward pass, and what the backward pass of one holds.

In bytes of one GPU. Sizes are in bf16 tensors of a token: `FFN` ones are as wide as the MLP,
`HIDDEN` ones as the model. Fitted to the simulated steps of tests/predict/simulated.jsonl (torch
2.13); with and without a mask, and with eager attention, to those of tests/train/test_simulate.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hpclaunch.predict import context, fused
from hpclaunch.predict.training_step import BF16_BYTES, FP32_BYTES, TrainingStep

BACKWARD_FFN, BACKWARD_HIDDEN, BACKWARD_HIDDEN_FULL = 9, 1.5, 4
"""Tensors that the backward pass of a checkpointed layer holds at once. Of a gated MLP, recomputed:
its two halves, their activation and product, and their gradients; a full fine-tune's own beside."""
SAVED_FFN, SAVED_HIDDEN, SAVED_HIDDEN_FULL = 4, 7.9, 10
"""Tensors that each layer saves for the backward pass without activation checkpointing; a full
fine-tune also saves the inputs of all matrices, for their gradients (`SAVED_HIDDEN_FULL`). Keys and
values come on top: with a mask, and for eager attention, those of every head."""


QUERIES = 2
"""Of the `HIDDEN` tensors, those as wide as all heads together: queries, and attention's output.
Where heads are wider than the model (Qwen3 0.6B) or narrower (Mistral Nemo), they differ."""
BACKWARD_QUERIES = 4
"""The same of a checkpointed layer that is not fused: with their gradients."""


class MoreNorms(NamedTuple):
    """Tensors that norms beside Llama's two keep, by how the layer is computed: those of queries
    and keys (Qwen3), and behind attention and the MLP (Gemma)."""

    fused: int
    """Their inputs."""
    adapters: int
    """Their inputs in 32 bits."""
    full: int
    """With those of their weights' gradients."""


MORE_NORMS = MoreNorms(1, 2, 3)


class Eager(NamedTuple):
    """Of a family, what eager attention holds, in bytes of a head and pair of tokens."""

    saved: int
    """Of each layer: what softmax gives."""
    backward: int
    """Beside, in the backward pass."""
    mlp: float
    """Tensors of the MLP that go with it, in place of `SAVED_FFN`."""


EAGER = Eager(saved=6, backward=4, mlp=SAVED_FFN)
"""Softmax gives 32 bits, and once more 16."""
EAGER_OF = {
    "gpt_oss": Eager(saved=2, backward=3, mlp=6.5),
    "gemma2": Eager(saved=8, backward=4, mlp=SAVED_FFN),
}
"""gpt-oss's softmax stays in 16 bits, and its MLP clamps both halves; Gemma 2 caps its scores by a
tanh in 16 bits."""
AUTOCAST_HIDDEN, AUTOCAST_SAVED_HIDDEN = 11, 4.3
"""More of the `HIDDEN` tensors where autocast casts in place of FSDP (the adapters' inputs): in the
backward pass, and saved by each layer without activation checkpointing."""
MERGED_GRADIENT = 1 / 3
"""Share of a layer's merged experts whose gradient is held beside them: the smaller of two tensors.
(PEFT adds the adapters of experts to the weights; the sum is saved for the backward pass.)"""


def saved_bytes(training: TrainingStep) -> float:
    """Return the bytes that all layers keep for the backward pass."""
    layers = training.model.layers
    if not training.activation_checkpointing:
        return layers * _saved_by_layer(training)
    kept = _saved_by_layer(replace(training, activation_checkpointing=False))
    again = training.recomputed_share
    saved = layers * (again * _hidden_bytes(training) + (1 - again) * kept)
    # Layers that are computed again keep the model's own mask: a byte a pair of tokens, and for
    # eager attention the numbers themselves.
    return saved + _mask_bytes(training) * (1.0 if training.eager_attention else 0.5)


def backward_bytes(training: TrainingStep) -> float:
    """Return the bytes that the backward pass of one layer holds beside what others keep."""
    full, again = training.method == "full", training.activation_checkpointing
    hidden_bytes, ffn_bytes = _hidden_bytes(training), _ffn_bytes(training)
    model = training.model
    if training.fused_lora and again:
        held = fused.BACKWARD_FFN * ffn_bytes + fused.BACKWARD_HIDDEN * hidden_bytes
        held += _keys_bytes(training, _heads_of_keys(training))
        held += QUERIES * _wider_bytes(training) + _norm_bytes(training)
    else:
        casts_inputs = not (training.sharding != "none" or full or training.fused_lora)
        hidden = BACKWARD_HIDDEN_FULL if full else BACKWARD_HIDDEN
        hidden += AUTOCAST_HIDDEN if casts_inputs else 0
        held = BACKWARD_FFN * ffn_bytes + hidden * hidden_bytes
        # Those of every head are among them.
        held -= _keys_bytes(training, model.num_heads - _heads_of_keys(training))
        if again:
            held += BACKWARD_QUERIES * _wider_bytes(training) + _norm_bytes(training)
    held += _mask_bytes(training)
    if not again:
        held /= 2
        held += fused.RECOMPUTED_FFN * ffn_bytes if training.recomputed_mlps else 0.0
    eager = EAGER_OF.get(model.family, EAGER)
    held += (eager.backward + (eager.saved if again else 0)) * _scores(training)
    if not full:
        held += (MERGED_GRADIENT + again) * BF16_BYTES * model.merged_parameters
    return held + context.ring_bytes(training)


def _saved_by_layer(training: TrainingStep) -> float:
    """Return the bytes that a layer saves that is not computed again whole."""
    hidden_bytes, ffn_bytes = _hidden_bytes(training), _ffn_bytes(training)
    beside = _keys_bytes(training, _heads_of_keys(training))
    # Eager attention has one mask for all layers.
    eager = EAGER_OF.get(training.model.family, EAGER)
    scores = eager.saved * _scores(training)
    beside += scores if training.eager_attention else _mask_bytes(training)
    beside += QUERIES * _wider_bytes(training) + _norm_bytes(training)
    if training.fused_lora:
        ffn = 0 if training.recomputed_mlps else fused.SAVED_FFN
        return ffn * ffn_bytes + fused.SAVED_HIDDEN * hidden_bytes + beside
    full = training.method == "full"
    hidden = SAVED_HIDDEN_FULL if full else SAVED_HIDDEN
    if training.sharding == "none" and not full:
        hidden += AUTOCAST_SAVED_HIDDEN
    merged = 0.0 if full else BF16_BYTES * training.model.merged_parameters
    return eager.mlp * ffn_bytes + hidden * hidden_bytes + beside + merged


def _hidden_bytes(training: TrainingStep) -> float:
    return float(BF16_BYTES * training.model.hidden_size * training.tokens)


def _wider_bytes(training: TrainingStep) -> float:
    """Return by how many bytes a tensor of all heads is wider than one between layers."""
    heads = training.model.num_heads * training.model.head_dim
    return float(BF16_BYTES * (heads - training.model.hidden_size) * training.tokens)


def _norm_bytes(training: TrainingStep) -> float:
    """Return the bytes that a layer's norms beside Llama's two keep."""
    model = training.model
    heads = model.num_heads + model.num_kv_heads if model.normed_heads else 0
    more = model.norms_of_hidden - 2
    if training.fused_lora:
        tensors = MORE_NORMS.fused
    else:
        tensors = MORE_NORMS.full if training.method == "full" else MORE_NORMS.adapters
    values = heads * model.head_dim + more * model.hidden_size
    return float(training.tokens * (tensors * BF16_BYTES * values + FP32_BYTES * (heads + more)))


def _ffn_bytes(training: TrainingStep) -> float:
    return float(BF16_BYTES * training.model.intermediate_size * training.tokens)


def _mask_bytes(training: TrainingStep) -> float:
    """Return the bytes of the numbers that a layer makes of the mask."""
    return float(BF16_BYTES * training.tokens * training.part_len * training.masked)


def _heads_of_keys(training: TrainingStep) -> int:
    """Return the heads of the keys and values that are kept: repeated ones where they are."""
    repeated = training.masked or training.eager_attention
    return training.model.num_heads if repeated else training.model.num_kv_heads


def _keys_bytes(training: TrainingStep, heads: int) -> float:
    """Return the bytes of a layer's keys and values of so many heads."""
    return 2.0 * BF16_BYTES * training.tokens * heads * training.model.head_dim


def _scores(training: TrainingStep) -> float:
    """Return the pairs of tokens, over all heads, that eager attention writes out in a layer."""
    heads = training.model.num_heads if training.eager_attention else 0
    return float(heads * training.tokens * training.part_len)
