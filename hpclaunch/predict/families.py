"""Read a model's shape from its config.json, without the libraries that build it.

Families that Transformers builds from the usual parts: Llama, Mistral, Qwen, Gemma, Phi, and
mixtures of experts among them. For any other there is the simulation (`plan --exact`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.predict.architecture import Architecture, Linear
from hpclaunch.predict.model_types import check_loadable, text_type
from hpclaunch.predict.sizes import Sizes, UncountedModel
from hpclaunch.predict.vision import tower_parameters

FAMILIES = {
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3",
    "granite", "olmo2", "mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss",
}  # fmt: skip
"""`model_type`s whose layers are counted here."""

_FOUR_NORMS = {"gemma2", "gemma3_text"}
_NORMED_HEADS = {"qwen3", "qwen3_moe", "gemma3_text", "olmo2"}
_ATTENTION_BIAS = FAMILIES - {"mistral", "mixtral", "phi3", "qwen2", "qwen2_moe"}
"""Families whose attention has the biases that `attention_bias` says."""
_MLP_BIAS = {"llama", "granite"}
_STACKED_UNKNOWN = {"qwen2_moe", "gpt_oss"}
"""Families whose stacked experts PEFT's `all-linear` leaves out: it does not know them."""


def architecture(config: Mapping[str, Any], name: str = "the model") -> Architecture:
    """Read a config.json; what it leaves out has the default of its class in Transformers.

    Raises UnloadableModel for a model that the trainer cannot load, UncountedModel for a family
    whose layers are not known here, UserError for a figure that cannot be.
    """
    check_loadable(config, name)
    text = config.get("text_config") or config
    if not isinstance(text, Mapping):
        raise UserError(f"the config of {name} cannot be read: text_config is no mapping")
    family = text_type(config)
    _check_counted(family, text, name)
    read = Sizes(text, family, name)
    width, heads = read("hidden_size"), read("num_attention_heads")
    kv_heads = read("num_key_value_heads", heads)
    head_width = read("head_dim", _share(name, "hidden_size", width, heads))
    _share(name, "num_attention_heads", heads, kv_heads, "num_key_value_heads")
    attention = _attention(read, width, heads * head_width, kv_heads * head_width)
    mlp, mlp_width, active_mlp = _mlp(read, width)
    four, normed = family in _FOUR_NORMS, family in _NORMED_HEADS
    norms = width * (4 if four else 2)
    if normed:
        whole = family == "olmo2"
        norms += (heads + kv_heads) * head_width if whole else 2 * head_width
    sinks = heads if family == "gpt_oss" else 0  # one value a head
    tied = config.get("tie_word_embeddings")
    return Architecture(
        family=family,
        hidden_size=width,
        layers=read("num_hidden_layers"),
        vocab_size=read("vocab_size"),
        tie_word_embeddings=read.flag("tie_word_embeddings") if tied is None else bool(tied),
        num_heads=heads,
        head_dim=head_width,
        num_kv_heads=kv_heads,
        intermediate_size=mlp_width,
        linears=attention + mlp,
        norm_parameters=norms + sinks,
        active_layer_parameters=sum(each.parameters for each in attention) + active_mlp,
        normed_heads=normed,
        norms_of_hidden=4 if four else 2,
        tower_parameters=tower_parameters(config, width, name),
    )


def _share(name: str, what: str, number: int, parts: int, of: str = "num_attention_heads") -> int:
    """Return a part of a number that must be a multiple of `parts`. Raises UserError."""
    if number % parts:
        raise UserError(
            f"the config of {name} cannot be read: {what} {number} is no multiple of {of} {parts}"
        )
    return number // parts


def _check_counted(family: str, text: Mapping[str, Any], name: str) -> None:
    """Raise UncountedModel for an unknown family, and for layers that are not all alike."""
    exact = "use plan --exact, which builds it without weights (needs hpclaunch[train])"
    if family not in FAMILIES:
        raise UncountedModel(
            f"{name} is of the family {family or 'unknown'!r}, whose layers cannot be counted here",
            exact,
        )
    if text.get("mlp_only_layers") or text.get("decoder_sparse_step") not in {None, 1}:
        raise UncountedModel(f"some layers of {name} have experts and some have none", exact)


def _attention(read: Sizes, width: int, queries: int, keys: int) -> tuple[Linear, ...]:
    family = read.family
    given = family in _ATTENTION_BIAS and read.flag("attention_bias")
    bias = given or family == "qwen2" or (family == "qwen2_moe" and read.flag("qkv_bias"))
    if family == "phi3":
        return (
            Linear("qkv_proj", width, queries + 2 * keys),
            Linear("o_proj", queries, width),
        )
    return (
        Linear("q_proj", width, queries, bias),
        Linear("k_proj", width, keys, bias),
        Linear("v_proj", width, keys, bias),
        Linear("o_proj", queries, width, given),
    )


def _mlp(read: Sizes, width: int) -> tuple[tuple[Linear, ...], int, int]:
    """Return the matrices, a token's values inside them, and the parameters it meets."""
    family = read.family
    if family in {"mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss"}:
        return _experts(read, width)
    inner = read("intermediate_size")
    bias = family in _MLP_BIAS and read.flag("mlp_bias")
    if family == "phi3":
        made: tuple[Linear, ...] = (
            Linear("gate_up_proj", width, 2 * inner),
            Linear("down_proj", inner, width),
        )
    else:
        made = (
            Linear("gate_proj", width, inner, bias),
            Linear("up_proj", width, inner, bias),
            Linear("down_proj", inner, width, bias),
        )
    return made, inner, sum(each.parameters for each in made)


def _experts(read: Sizes, width: int) -> tuple[tuple[Linear, ...], int, int]:
    family = read.family
    number = read.first("num_local_experts", "num_experts")
    taken = read("num_experts_per_tok")
    plain = family in {"mixtral", "gpt_oss"}
    inner = read("intermediate_size" if plain else "moe_intermediate_size")
    once = 0 if family in _STACKED_UNKNOWN else 1
    bias = family == "gpt_oss"
    made = [
        Linear("gate_up_proj", width, 2 * inner, bias, number, 2 * once, quantized=False),
        Linear("down_proj", inner, width, bias, number, once, quantized=False),
        Linear("gate", width, number, bias, adapter_ranks=once, quantized=False),
    ]
    biases = taken * (2 * inner + width) + number if bias else 0
    active = taken * 3 * width * inner + width * number + biases
    span = taken * inner
    if family == "qwen2_moe":
        shared = read("shared_expert_intermediate_size")
        own = [
            Linear("gate_proj", width, shared),
            Linear("up_proj", width, shared),
            Linear("down_proj", shared, width),
            Linear("shared_expert_gate", width, 1),
        ]
        made += own
        active += sum(each.parameters for each in own)
        span += shared
    return tuple(made), span, active
