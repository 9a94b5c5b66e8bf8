"""A model's shape, read from its config.json: enough to count weights, bytes and work by.

Decoder-only families that Transformers builds from the usual parts: Llama, Mistral, Qwen, Gemma,
Phi, and mixtures of experts among them. For any other there is the simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    inputs: int
    outputs: int
    bias: bool = False
    copies: int = 1
    """How many such matrices a layer has: the experts."""
    ranks: int = 1
    """Adapters' ranks that PEFT's `all-linear` gives it, in multiples of r: two where two matrices
    are stacked in one, none where it leaves it out."""
    quantized: bool = True
    """4-bit loading quantizes it: not the experts, whose matrices are stacked in one tensor."""

    @property
    def weights(self) -> int:
        """Numbers in it, biases with them."""
        return self.copies * (self.inputs * self.outputs + (self.outputs if self.bias else 0))


@dataclass(frozen=True)
class Architecture:
    """What a decoder is made of."""

    family: str
    width: int
    """Values of a token between layers."""
    layers: int
    vocabulary: int
    tied: bool
    """Input and output embeddings are one matrix."""
    heads: int
    head_width: int
    kv_heads: int
    mlp_width: int
    """Values of a token inside the MLP; with experts, of all those that a token goes through."""
    linears: tuple[Linear, ...]
    norm_weights: int
    """Numbers in a layer beside the matrices."""
    active: int
    """Numbers of a layer's matrices that one token meets."""

    @property
    def layer_weights(self) -> int:
        """Numbers in a layer."""
        return sum(each.weights for each in self.linears) + self.norm_weights

    @property
    def norms(self) -> int:
        """Norms of a layer."""
        heads = 2 if self.family in _NORMED_HEADS else 0
        return heads + (4 if self.family in _FOUR_NORMS else 2)

    @property
    def normed(self) -> int:
        """Values of a token that a layer's norms take in."""
        heads = self.heads + self.kv_heads if self.family in _NORMED_HEADS else 0
        return heads * self.head_width + self.width * (4 if self.family in _FOUR_NORMS else 2)

    @property
    def adaptable(self) -> tuple[int, int, int]:
        """Matrices of a layer that get adapters by default; the widths in and out of them all.

        Stacked experts are left out: their adapters are added to the weights.
        """
        some = [each for each in self.linears if each.ranks and each.copies == 1]
        inputs, outputs = (sum(e.inputs for e in some), sum(e.outputs for e in some))
        return len(some), inputs, outputs

    @property
    def stacked(self) -> int:
        """Numbers of a layer's experts, each kind of whose matrices is one tensor."""
        return sum(each.weights for each in self.linears if each.copies > 1)

    @property
    def merged(self) -> int:
        """Numbers of a layer's stacked experts that have adapters.

        PEFT adds an adapter of theirs to the weights themselves: a step makes another copy of them.
        """
        return sum(each.weights for each in self.linears if each.copies > 1 and each.ranks)

    def padding(self, ranks: int) -> int:
        """Numbers that a layer is more when FSDP 2 shares it out: whole experts, to ranks alike.

        It splits tensors along their first dimension, which is the expert where they are stacked:
        eight over sixteen ranks are eight ranks with one each, and room for sixteen put together.
        """
        stacked = (each for each in self.linears if each.copies > 1)
        return sum(-each.copies % ranks * (each.weights // each.copies) for each in stacked)

    @property
    def embedding(self) -> int:
        """Numbers in one embedding matrix."""
        return self.vocabulary * self.width

    @property
    def weights(self) -> int:
        """Numbers in the whole model."""
        ends = self.embedding * (1 if self.tied else 2)
        return self.layers * self.layer_weights + ends + self.width

    @property
    def active_weights(self) -> int:
        """Numbers that one token is multiplied by, the output head among them."""
        return self.layers * self.active + self.embedding

    @property
    def quantized(self) -> int:
        """Numbers that 4-bit loading quantizes."""
        smaller = (each for each in self.linears if each.quantized)
        return self.layers * sum(each.copies * each.inputs * each.outputs for each in smaller)

    def adapter(self, rank: int) -> int:
        """Numbers in a LoRA adapter of this rank on all linear layers."""
        ends = (e.copies * e.ranks * (e.inputs + e.outputs) for e in self.linears)
        return self.layers * rank * sum(ends)


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
        width=width,
        layers=read("num_hidden_layers"),
        vocabulary=read("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", family in _TIED)),
        heads=heads,
        head_width=head_width,
        kv_heads=kv_heads,
        mlp_width=mlp_width,
        linears=attention + mlp,
        norm_weights=norms,
        active=sum(each.weights for each in attention) + active_mlp,
    )


class _Reader:
    """Takes positive whole numbers from a config."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self._config, self._name = config, name

    def __call__(self, key: str, default: int | None = None) -> int:
        value = self._config.get(key)
        value = default if value is None else value
        if type(value) is not int or value < 1:
            said = "is missing" if value is None else f"is {value!r}"
            raise UserError(f"the config of {self._name} cannot be read: {key} {said}")
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
    """Return the matrices, the width a token takes in them, and the numbers it meets."""
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
    return made, inner, sum(each.weights for each in made)


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
        Linear("gate", width, number, ranks=once, quantized=False),
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
        active += sum(each.weights for each in own)
        span += shared
    return tuple(made), span, active
