"""A model's shape, read from its config.json: enough to count parameters, bytes and FLOPs.

Decoder-only families that Transformers builds from the usual parts: Llama, Mistral, Qwen, Gemma,
Phi, and mixtures of experts among them. For any other there is the simulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from hpclaunch.errors import UserError

FAMILIES = {
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3",
    "granite", "olmo2", "mixtral", "qwen2_moe", "qwen3_moe",
}  # fmt: skip
"""`model_type`s whose layers are counted here."""

_DEFAULT_HEAD_WIDTH = {"gemma": 256, "gemma2": 256, "gemma3_text": 256, "qwen3": 128}
_TIED = {"gemma", "gemma2", "gemma3_text"}
_FOUR_NORMS = {"gemma2", "gemma3_text"}
_NORMED_HEADS = {"qwen3", "qwen3_moe", "gemma3_text", "olmo2"}
_QKV_BIAS = {"qwen2", "qwen2_moe"}


@dataclass(frozen=True)
class Linear:
    """One matrix of every layer."""

    name: str
    in_features: int
    out_features: int
    bias: bool = False
    copies: int = 1
    """How many such matrices a layer has: the experts."""
    adapter_ranks: int = 1
    """Adapters' ranks that PEFT's `all-linear` gives it, in multiples of r: two where two matrices
    are stacked in one, none where it leaves it out."""
    quantized: bool = True
    """4-bit loading quantizes it: not the experts, whose matrices are stacked in one tensor."""

    @property
    def parameters(self) -> int:
        """Parameters of all copies, biases with them."""
        bias = self.out_features if self.bias else 0
        return self.copies * (self.in_features * self.out_features + bias)


class AdaptedMatrices(NamedTuple):
    """Matrices of a layer that have LoRA adapters."""

    number: int
    in_features: int
    """Sum over them."""
    out_features: int
    """Sum over them."""


@dataclass(frozen=True)
class Architecture:
    """What a decoder is made of, by the names of config.json."""

    family: str
    hidden_size: int
    """Values of a token between layers."""
    layers: int
    vocab_size: int
    tie_word_embeddings: bool
    """Input and output embeddings are one matrix."""
    num_heads: int
    head_dim: int
    num_kv_heads: int
    intermediate_size: int
    """Values of a token inside the MLP; with experts, of all those that a token goes through."""
    linears: tuple[Linear, ...]
    norm_parameters: int
    """Parameters of a layer beside the matrices."""
    active_layer_parameters: int
    """Parameters of a layer's matrices that one token is multiplied by."""

    @property
    def layer_parameters(self) -> int:
        """Parameters of a layer."""
        return sum(each.parameters for each in self.linears) + self.norm_parameters

    @property
    def norms(self) -> int:
        """Norms of a layer."""
        heads = 2 if self.family in _NORMED_HEADS else 0
        return heads + (4 if self.family in _FOUR_NORMS else 2)

    @property
    def normed_values(self) -> int:
        """Values of a token that a layer's norms take in."""
        heads = self.num_heads + self.num_kv_heads if self.family in _NORMED_HEADS else 0
        return heads * self.head_dim + self.hidden_size * (4 if self.family in _FOUR_NORMS else 2)

    @property
    def all_linear(self) -> AdaptedMatrices:
        """Return the matrices of a layer that PEFT's `all-linear` gives adapters.

        Stacked experts are left out: their adapters are added to the weights.
        """
        return adapted(each for each in self.linears if each.adapter_ranks and each.copies == 1)

    @property
    def stacked_parameters(self) -> int:
        """Parameters of a layer's experts, each kind of whose matrices is one tensor."""
        return sum(each.parameters for each in self.linears if each.copies > 1)

    @property
    def merged_parameters(self) -> int:
        """Parameters of a layer's stacked experts that have adapters.

        PEFT adds an adapter of theirs to the weights themselves: a step makes another copy of them.
        """
        return sum(e.parameters for e in self.linears if e.copies > 1 and e.adapter_ranks)

    def padding(self, ranks: int) -> int:
        """Return the parameters that FSDP 2 pads a layer with, to give all ranks whole experts.

        It shards tensors along their first dimension, which is the expert where they are stacked:
        eight over sixteen ranks are eight ranks with one each, and sixteen when unsharded.
        """
        stacked = (each for each in self.linears if each.copies > 1)
        return sum(-each.copies % ranks * (each.parameters // each.copies) for each in stacked)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        ends = self.embedding_parameters * (1 if self.tie_word_embeddings else 2)
        return self.layers * self.layer_parameters + ends + self.hidden_size

    @property
    def active_parameters(self) -> int:
        """Parameters that one token is multiplied by, the output head's among them."""
        return self.layers * self.active_layer_parameters + self.embedding_parameters

    @property
    def quantized_parameters(self) -> int:
        """Parameters that 4-bit loading quantizes."""
        smaller = (each for each in self.linears if each.quantized)
        return self.layers * sum(e.copies * e.in_features * e.out_features for e in smaller)

    def adapter_parameters(self, rank: int) -> int:
        """Return the parameters of a LoRA adapter of this rank on all linear layers."""
        ends = (e.copies * e.adapter_ranks * (e.in_features + e.out_features) for e in self.linears)
        return self.layers * rank * sum(ends)


def adapted(linears: Iterable[Linear]) -> AdaptedMatrices:
    """Return how many matrices these are, and the sums of their inputs and outputs."""
    matrices = list(linears)
    return AdaptedMatrices(
        len(matrices),
        sum(each.in_features for each in matrices),
        sum(each.out_features for each in matrices),
    )


def architecture(config: Mapping[str, Any], name: str = "the model") -> Architecture:
    """Read a config.json. Raises UserError where the family is unknown or a figure is missing."""
    config = config.get("text_config") or config
    family = str(config.get("model_type", ""))
    if family not in FAMILIES:
        raise UserError(
            f"{name} is of the family {family or 'unknown'!r}, whose layers cannot be counted here",
            "use plan --exact, which builds it without weights (needs hpclaunch[train])",
        )
    read = _Reader(config, name)
    width, heads = read("hidden_size"), read("num_attention_heads")
    kv_heads = read("num_key_value_heads", heads)
    head_width = read("head_dim", _DEFAULT_HEAD_WIDTH.get(family, width // heads))
    attention = _attention(family, config, width, heads * head_width, kv_heads * head_width)
    mlp, mlp_width, active_mlp = _mlp(family, config, read, width)
    norms = width * (4 if family in _FOUR_NORMS else 2)
    if family in _NORMED_HEADS:
        whole = family == "olmo2"
        norms += (heads + kv_heads) * head_width if whole else 2 * head_width
    return Architecture(
        family=family,
        hidden_size=width,
        layers=read("num_hidden_layers"),
        vocab_size=read("vocab_size"),
        tie_word_embeddings=bool(config.get("tie_word_embeddings", family in _TIED)),
        num_heads=heads,
        head_dim=head_width,
        num_kv_heads=kv_heads,
        intermediate_size=mlp_width,
        linears=attention + mlp,
        norm_parameters=norms,
        active_layer_parameters=sum(each.parameters for each in attention) + active_mlp,
    )


class _Reader:
    """Takes positive whole numbers from a config."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self._config, self._name = config, name

    def __call__(self, key: str, default: int | None = None) -> int:
        value = self._config.get(key)
        value = default if value is None else value
        if type(value) is not int or value < 1:
            problem = "is missing" if value is None else f"is {value!r}"
            raise UserError(f"the config of {self._name} cannot be read: {key} {problem}")
        return value


def _attention(
    family: str, config: Mapping[str, Any], width: int, queries: int, keys: int
) -> tuple[Linear, ...]:
    bias = family in _QKV_BIAS or bool(config.get("attention_bias", False))
    out_bias = bool(config.get("attention_bias", False)) and family not in _QKV_BIAS
    if family == "phi3":
        return (
            Linear("qkv_proj", width, queries + 2 * keys),
            Linear("o_proj", queries, width),
        )
    return (
        Linear("q_proj", width, queries, bias),
        Linear("k_proj", width, keys, bias),
        Linear("v_proj", width, keys, bias),
        Linear("o_proj", queries, width, out_bias),
    )


def _mlp(
    family: str, config: Mapping[str, Any], read: _Reader, width: int
) -> tuple[tuple[Linear, ...], int, int]:
    """Return the matrices, a token's values inside them, and the parameters it meets."""
    if family in {"mixtral", "qwen2_moe", "qwen3_moe"}:
        return _experts(family, config, read, width)
    inner = read("intermediate_size")
    if family == "phi3":
        made: tuple[Linear, ...] = (
            Linear("gate_up_proj", width, 2 * inner),
            Linear("down_proj", inner, width),
        )
    else:
        made = (
            Linear("gate_proj", width, inner),
            Linear("up_proj", width, inner),
            Linear("down_proj", inner, width),
        )
    return made, inner, sum(each.parameters for each in made)


def _experts(
    family: str, config: Mapping[str, Any], read: _Reader, width: int
) -> tuple[tuple[Linear, ...], int, int]:
    number = read("num_local_experts", config.get("num_experts"))
    taken = read("num_experts_per_tok")
    inner = read("intermediate_size" if family == "mixtral" else "moe_intermediate_size")
    once = 0 if family == "qwen2_moe" else 1  # PEFT knows how the others stack their experts
    made = [
        Linear("gate_up_proj", width, 2 * inner, False, number, 2 * once, quantized=False),
        Linear("down_proj", inner, width, False, number, once, quantized=False),
        Linear("gate", width, number, adapter_ranks=once, quantized=False),
    ]
    active = taken * 3 * width * inner + width * number
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
