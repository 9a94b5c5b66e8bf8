"""What PyTorch's kernels between the matrix products of a layer move, and how many they are.

Counted over tensors without values, layer by layer, of Transformers' Llama and Qwen3 under PEFT and
accelerate: tests/train/test_moved.py counts again.
"""

from __future__ import annotations

from hpclaunch.frozen import frozen
from hpclaunch.predict.training_step import TrainingStep


@frozen
class Layer:
    """What a layer moves between its matrix products: bytes a token and value, and kernels.

    Counted by PyTorch's dispatch over tensors without values: tests/train/test_moved.py.
    """

    norm: int
    """Bytes, for each value that a norm takes in."""
    width: int
    """For each value between layers."""
    queries: int
    keys: int
    mlp: int
    """For each value inside the MLP."""
    kernels: int
    """With no norm."""
    norm_kernels: int

    def moved(self, training: TrainingStep) -> float:
        """Return the bytes a token."""
        model = training.model
        return float(
            self.norm * model.normed_values
            + self.width * model.hidden_size
            + self.queries * model.num_heads * model.head_dim
            + self.keys * model.num_kv_heads * model.head_dim
            + self.mlp * model.intermediate_size
        )

    def launched(self, training: TrainingStep) -> int:
        """Return the number of kernels."""
        return self.kernels + self.norm_kernels * training.model.norms


@frozen
class Adapter:
    """The same of a matrix's adapter: bytes a token and value that comes in or goes out."""

    inputs: int
    outputs: int
    kernels: int

    def moved(self, training: TrainingStep) -> float:
        """Return the bytes a token, in a layer."""
        matrices = training.adapted_matrices
        return float(self.inputs * matrices.in_features + self.outputs * matrices.out_features)

    def launched(self, training: TrainingStep) -> int:
        """Return the number of kernels of a layer."""
        return self.kernels * training.adapted_matrices.number


@frozen
class Attention:
    """What attention moves and launches beside a layer's other operations."""

    queries: int
    """Bytes, for each value of a token's queries."""
    keys: int
    """For each value of its keys."""
    scores: int
    """For each head and token that a token attends to, before it or after."""
    kernels: int

    def moved(self, training: TrainingStep) -> float:
        """Return the bytes a token."""
        model = training.model
        return float(
            self.queries * model.num_heads * model.head_dim
            + self.keys * model.num_kv_heads * model.head_dim
            + self.scores * model.num_heads * training.part_len
        )


FORWARD, FORWARD_CAST = Layer(36, 12, 20, 20, 10, 22, 8), Layer(48, 10, 40, 28, 10, 32, 8)
"""Bytes and kernels forward; and where autocast casts weights that are trained on one GPU, whose
norms give 32 bits. Attention is one kernel, of which no bytes are counted."""
BACKWARD, BACKWARD_CAST = Layer(92, 30, 32, 32, 18, 42, 15), Layer(116, 54, 62, 50, 18, 57, 15)
"""Bytes and kernels backward, likewise."""
BACKWARD_FROZEN = Layer(84, 30, 32, 32, 18, 32, 14)
"""Bytes and kernels backward without gradients of the layer's own weights."""
FUSED_BACKWARD, GROUPED_BACKWARD = Attention(10, 0, 0, 0), Attention(4, 4, 0, 0)
"""What FlashAttention 2 moves backward before and after its main kernel, within one operation: it
reads the output and its gradient, and turns the queries' gradient from 32 bits into 16; of grouped
heads it sums the gradients of keys and values, which it has written for every head."""
EAGER_FORWARD, EAGER_BACKWARD = Attention(4, 0, 28, 7), Attention(4, 0, 28, 8)
"""Of eager attention in place of one kernel: scores are scaled, masked, turned into shares in 32
bits and back, each written out and read."""
REPEATED_FORWARD, REPEATED_FORWARD_CAST = Attention(4, 4, 0, 2), Attention(8, 8, 0, 2)
"""Of grouped keys and values that Transformers repeats for every head: with a mask, and for eager
attention."""
REPEATED_BACKWARD, REPEATED_BACKWARD_CAST = Attention(4, 8, 0, 3), Attention(8, 12, 0, 3)
"""Likewise backward: their gradients are summed."""
NORM_CASTS = 12
"""Bytes, for each value that a norm takes in, of its two casts: to 32 bits and back."""
PRODUCTS = 2
"""Products of an adapter forward."""
RECOMPUTED_LESS = 16
"""Bytes a token and hidden value that a recomputed layer need not move: its last sum."""

# An adapter's two products are so narrow that their work is to read and write their ends: two bytes
# each forward, twice that backward. FSDP casts the adapter; autocast casts what goes through it.
ADAPTER_FORWARD = {True: Adapter(2, 12, 4), False: Adapter(14, 12, 8)}
ADAPTER_BACKWARD = {True: Adapter(10, 8, 6), False: Adapter(22, 8, 10)}
"""Bytes and kernels, by whether FSDP casts."""


def attention_forward(training: TrainingStep) -> list[Attention]:
    """Return what attention takes forward beside `FORWARD`."""
    found = [EAGER_FORWARD] if training.eager_attention else []
    if _repeats(training):
        found.append(REPEATED_FORWARD_CAST if _casts(training) else REPEATED_FORWARD)
    return found


def attention_backward(training: TrainingStep) -> list[Attention]:
    """Return what attention takes backward beside `BACKWARD`, but for what is recomputed."""
    found = [EAGER_BACKWARD if training.eager_attention else FUSED_BACKWARD]
    if _repeats(training):
        found.append(REPEATED_BACKWARD_CAST if _casts(training) else REPEATED_BACKWARD)
    elif _grouped(training):
        found.append(GROUPED_BACKWARD)
    return found


def _grouped(training: TrainingStep) -> bool:
    return training.model.num_kv_heads < training.model.num_heads


def _repeats(training: TrainingStep) -> bool:
    return (training.masked or training.eager_attention) and _grouped(training)


def _casts(training: TrainingStep) -> bool:
    """Whether autocast leaves queries and keys in 32 bits."""
    return training.method == "full" and training.sharding == "none"
