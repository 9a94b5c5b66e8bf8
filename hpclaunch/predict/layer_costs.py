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


FORWARD, FORWARD_CAST = Layer(36, 12, 24, 24, 10, 27, 8), Layer(48, 10, 48, 36, 10, 37, 8)
"""Bytes and kernels forward; and where autocast casts weights that are trained on one GPU, whose
norms give 32 bits."""
BACKWARD, BACKWARD_CAST = Layer(92, 30, 36, 40, 18, 45, 15), Layer(116, 54, 70, 62, 18, 60, 15)
"""Bytes and kernels backward, likewise."""
BACKWARD_FROZEN = Layer(84, 30, 36, 40, 18, 36, 14)
"""Bytes and kernels backward without gradients of the layer's own weights."""
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
