"""What context parallelism adds to a step: keys and values that move between ranks of a sequence.

Read off PyTorch's ring attention (torch/distributed/tensor/experimental/_context_parallel, 2.13),
as accelerate sets it up: keys and values are all-gathered, sums are held in 32 bits, and gradients
of keys and values go once around the ring in 32 bits. Not measured on GPUs.
"""

from __future__ import annotations

from hpclaunch.predict.training_step import TrainingStep

HALF, SINGLE = 2, 4
"""Bytes of a value in bf16 and in fp32."""


def ring_bytes(training: TrainingStep) -> float:
    """Return the bytes that the backward pass of one layer's attention holds more on a GPU.

    All keys and values of the sequence; and in 32 bits its own queries' gradient and, of keys and
    values, the gradient's sum, what goes out and what comes in.
    """
    ranks = training.context_parallel
    if ranks == 1:
        return 0.0
    queries, pairs = _values(training)
    return training.tokens * (HALF * ranks * pairs + SINGLE * (queries + 3 * pairs))


def ring_traffic(training: TrainingStep) -> float:
    """Return the bytes that a GPU receives in a micro-batch, all layers together.

    Forward, and once more where layers are computed again, it gets the others' keys and values; so
    it does in the backward pass, where their gradients make a whole round besides.
    """
    ranks = training.context_parallel
    if ranks == 1:
        return 0.0
    _, pairs = _values(training)
    gathered = HALF * (ranks - 1) * pairs
    gathers = 2 + training.recomputed_share + training.objective.forward_passes
    layer = training.tokens * (gathers * gathered + SINGLE * ranks * pairs)
    return float(training.model.layers * layer)


def _values(training: TrainingStep) -> tuple[int, int]:
    """Return a token's values of queries, and of keys and values together, in a layer."""
    model = training.model
    return model.num_heads * model.head_dim, 2 * model.num_kv_heads * model.head_dim
