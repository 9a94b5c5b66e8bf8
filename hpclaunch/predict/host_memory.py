"""How much of a node's memory a fine-tune takes: while the model is loaded, and what is offloaded.

Ranks map the model's files; pages of files can be read again, so no job is killed for them. With
sharded loading a rank reads its own slices, and converts them on the GPU. Without it every rank
reads all: what is converted lies in its own memory, and of a full fine-tune accelerate casts the
whole model to fp32 on every rank before it is sharded (docs/evidence/loading.md).
"""

from __future__ import annotations

from hpclaunch.frozen import frozen
from hpclaunch.predict.memory import GIB, memory
from hpclaunch.predict.training_step import BF16_BYTES, FP32_BYTES, TrainingStep

PROCESS = 2.0 * GIB
"""Bytes of a rank's process beside the model: Python, PyTorch and CUDA; an estimate."""


@frozen
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
    loaders = ranks
    if training.sharded_loading:
        pass
    elif training.deepspeed:  # under ZeRO-3 one rank reads the files, and hands out the parts
        whole = float(BF16_BYTES * model.parameters)
        loaders = 1 if training.sharding == "full" else ranks
    elif training.method == "full":
        whole = FP32_BYTES * model.decoder_parameters + BF16_BYTES * model.tower_parameters
    elif training.converted:
        whole = float(BF16_BYTES * model.parameters)
    # Adapters are made whole, on every rank, before they are sharded.
    adapters = FP32_BYTES * training.adapter_parameters
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
        loading=int(processes + loaders * whole + ranks * adapters),
        training=int(processes + offloaded),
        mapped=int(BF16_BYTES * model.parameters * _read_by_node(training)),
    )


def _read_by_node(training: TrainingStep) -> float:
    """Return the share of the model's files that the ranks of a node read."""
    if not training.sharded_loading:
        return 1.0
    return min(1.0, training.ranks_per_node / training.shards)


def _resident(training: TrainingStep) -> TrainingStep:
    """Return the step with its shards on the GPU: there they are counted."""
    from dataclasses import replace

    return replace(training, offload=False)
