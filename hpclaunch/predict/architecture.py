"""A model's shape: enough to count parameters, bytes and FLOPs. `families.py` reads it.

Decoder-only models, with the frozen vision tower that some of them have beside the decoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

from hpclaunch.frozen import frozen


@frozen
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


@frozen
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
    normed_heads: bool = False
    """Queries and keys have norms of their own."""
    norms_of_hidden: int = 2
    """Norms of a layer that take in the values between layers."""
    tower_parameters: int = 0
    """Parameters of a vision tower and its projector: frozen, for training is on text alone."""

    @cached_property
    def layer_parameters(self) -> int:
        """Parameters of a layer."""
        return sum(each.parameters for each in self.linears) + self.norm_parameters

    @property
    def norms(self) -> int:
        """Norms of a layer."""
        return (2 if self.normed_heads else 0) + self.norms_of_hidden

    @property
    def normed_values(self) -> int:
        """Values of a token that a layer's norms take in."""
        heads = self.num_heads + self.num_kv_heads if self.normed_heads else 0
        return heads * self.head_dim + self.hidden_size * self.norms_of_hidden

    @cached_property
    def all_linear(self) -> AdaptedMatrices:
        """Return the matrices of a layer that PEFT's `all-linear` gives adapters.

        Stacked experts are left out: their adapters are added to the weights.
        """
        return adapted(each for each in self.linears if each.adapter_ranks and each.copies == 1)

    @cached_property
    def stacked_parameters(self) -> int:
        """Parameters of a layer's experts, each kind of whose matrices is one tensor."""
        return sum(each.parameters for each in self.linears if each.copies > 1)

    @cached_property
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

    @cached_property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        ends = self.embedding_parameters * (1 if self.tie_word_embeddings else 2)
        decoder = self.layers * self.layer_parameters + ends + self.hidden_size
        return decoder + self.tower_parameters

    @property
    def decoder_parameters(self) -> int:
        """Parameters of the model without a vision tower: those that a full fine-tune trains."""
        return self.parameters - self.tower_parameters

    @property
    def active_parameters(self) -> int:
        """Parameters that one token is multiplied by, the output head's among them."""
        return self.layers * self.active_layer_parameters + self.embedding_parameters

    @cached_property
    def quantized_parameters(self) -> int:
        """Parameters that 4-bit loading quantizes."""
        smaller = (each for each in self.linears if each.quantized)
        return self.layers * sum(e.copies * e.in_features * e.out_features for e in smaller)

    @cached_property
    def largest_quantized_matrix(self) -> int:
        """Parameters of the largest matrix that 4-bit loading quantizes."""
        sizes = (each.in_features * each.out_features for each in self.linears if each.quantized)
        return max(sizes, default=0)

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
