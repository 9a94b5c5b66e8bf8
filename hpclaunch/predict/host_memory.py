"""How much of a node's memory a fine-tune takes: while the model is loaded, and what is offloaded.

As the pinned stack does it. Every rank maps the model's files; pages of files can be read again, so
no job is killed for them. What is converted lies in each rank's own memory: of a full fine-tune
accelerate casts the whole model to fp32 on every rank before it is sharded; measured, four ranks of
254 million parameters: 1.2 to 1.7 GB a rank.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpclaunch.predict.memory import BF16_BYTES, FP32_BYTES, GIB, memory
from hpclaunch.predict.training_step import TrainingStep

PROCESS = 2.0 * GIB
"""Bytes of a rank's process beside the model: Python, PyTorch and CUDA; an estimate."""


@dataclass(frozen=True)
class HostMemory:
    """Bytes of the fullest node."""

    loading: int
    """While the model is loaded, all ranks together: memory of their own, which kills."""
    training: int
    """While it trains: the processes, and what is offloaded."""
    mapped: int
    """Pages of the model's files that are read: they give way where memory is short."""

    @property
    def peak(self) -> int:
        """Bytes that the node must have."""
        return max(self.loading, self.training)


def host_memory(training: TrainingStep) -> HostMemory:
    """Return the bytes that the ranks of a node take of its memory."""
    ranks, model = training.ranks_per_node, training.model
    processes = PROCESS * ranks
    whole = 0.0
    if training.method == "full":
        whole = FP32_BYTES * model.decoder_parameters + BF16_BYTES * model.tower_parameters
    elif training.converted:
        whole = float(BF16_BYTES * model.parameters)
    offloaded = 0.0
    if training.offload:
        shard = memory(_resident(training))
        offloaded = ranks * (shard.weights + shard.optimizer)
        offloaded += (
            ranks
            * training.optimizer.parameter_bytes
            * training.trained_parameters
            / training.shards
        )
    return HostMemory(
        loading=int(processes + ranks * whole),
        training=int(processes + offloaded),
        mapped=BF16_BYTES * model.parameters,
    )


def _resident(training: TrainingStep) -> TrainingStep:
    """Return the step with its shards on the GPU: there they are counted."""
    from dataclasses import replace

    return replace(training, offload=False)
