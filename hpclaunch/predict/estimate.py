"""What a plan will take: memory against the GPU's, time, disk; None where unknown."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

from hpclaunch.frozen import frozen
from hpclaunch.predict.host_memory import HostMemory, host_memory
from hpclaunch.predict.memory import (
    BLOCK,
    CONTEXT,
    GIB,
    Memory,
    memory,
)
from hpclaunch.predict.step_time import Hardware, StepTime, step_time
from hpclaunch.predict.training_step import BF16_BYTES, FP32_BYTES, TrainingStep
from hpclaunch.site.schema import GpuType

USABLE = 0.98
"""Share of a GPU's memory that programs get, where the catalogue does not know better."""
SAFE = 0.95
"""Share of that which a plan fills at most: what is left is for what no plan predicts."""
QUANTIZED_AT_ONCE = 2**22
"""Weights that a rank quantizes at a time: `PIECE` of hpclaunch/train/loading/four_bit.py."""
SHORTEST_TOKENS = 256
"""Tokens of a sample below which a fine-tune is hardly meant."""


@frozen
class Workload:
    """How many samples and steps there are."""

    samples: int | None
    """Samples in an epoch; None where that is not known before the data is there."""
    epochs: float
    """Number of passes over the data, or part of one."""
    max_steps: int | None
    samples_per_step: int
    server_nodes: int = 0
    """Nodes of a job beside those that train, whose GPUs write completions."""


@frozen
class Estimate:
    """What to expect of a plan."""

    training: TrainingStep
    replicas: int
    memory: Memory
    usable_bytes: int | None
    """Memory of the GPU that programs get; None: the GPU type is not known."""
    step: StepTime | None
    """None where the GPU is not known."""
    steps: int | None
    checkpoint_bytes: int
    """One checkpoint, all ranks together."""
    host: HostMemory
    """A node's memory, of the fullest one."""
    node_memory_bytes: int | None
    """What a job gets of it; None: not known."""
    loading_bytes: int
    """Memory of each GPU while the model is loaded."""
    server_gpus: int = 0
    """GPUs of a job that do not train, and write completions."""
    seconds_range: tuple[float, float] | None = None
    """Least and most seconds of a step, where shards are offloaded at rates that are assumed."""

    @cached_property
    def longest_sample_tokens(self) -> int | None:
        """Tokens a sample may have, `seq_len` at most, for a step to fit; None: none, or unknown.

        Looked for where it is asked for: a comparison estimates some fifty layouts.
        """
        return None if self.usable_bytes is None else _longest(self.training, self.usable_bytes)

    @property
    def peak_tensor_bytes(self) -> int:
        """Bytes of tensors on a GPU at most, in a step or (of 4-bit weights) before the first."""
        return max(self.memory.tensors, self.loading_bytes - int(CONTEXT))

    @property
    def fits_gpu(self) -> bool | None:
        """Whether samples of full length fit, with room to spare; None where that is not known."""
        if self.usable_bytes is None:
            return None
        return max(self.memory.total, self.loading_bytes) <= SAFE * self.usable_bytes

    @property
    def fits_host(self) -> bool | None:
        """Whether the ranks of a node fit into its memory; None where that is not known."""
        if self.node_memory_bytes is None:
            return None
        return self.host.peak <= self.node_memory_bytes

    @property
    def fits(self) -> bool | None:
        """Whether it fits GPU and node, as far as that is known; None: the GPU is not."""
        return False if self.fits_host is False else self.fits_gpu

    @property
    def certain_seconds(self) -> float | None:
        """Seconds of a step at most, whatever the host's assumed rates are within their range."""
        if self.seconds_range is not None:
            return self.seconds_range[1]
        return None if self.step is None else self.step.seconds

    @property
    def seconds(self) -> float | None:
        """Seconds of the whole training, at full length."""
        if self.step is None or self.steps is None or self.step.seconds is None:
            return None
        return self.steps * self.step.seconds

    @property
    def gpu_hours(self) -> float | None:
        """GPU-hours to the end, those of a server's node among them."""
        if self.seconds is None or self.step is None:
            return None
        return self.seconds / 3600 * (self.step.gpus + self.server_gpus)

    @property
    def server_gpu_hours(self) -> float | None:
        """GPU-hours to the end of a server's node, 0 without one."""
        return None if self.seconds is None else self.seconds / 3600 * self.server_gpus


def usable(gpu: GpuType) -> int:
    """Return the bytes of a GPU's memory that programs get."""
    return int((gpu.usable_gib or USABLE * gpu.memory_gb) * GIB)


def estimate(
    training: TrainingStep,
    replicas: int,
    work: Workload,
    gpu: GpuType | None,
    machine: Hardware | None,
) -> Estimate:
    """Return all figures of a plan. Without a GPU there is memory, and no time."""
    timed = None
    if machine is not None and machine.tflops:
        timed = step_time(training, replicas, machine)
    room = None if gpu is None else usable(gpu)
    return Estimate(
        training=training,
        replicas=replicas,
        memory=memory(training),
        usable_bytes=room,
        step=timed,
        steps=_steps(work),
        # Frozen parameters are not written.
        checkpoint_bytes=int(training.trained_bytes),
        host=host_memory(training),
        node_memory_bytes=None if machine is None else machine.node_memory_bytes,
        loading_bytes=_loading_bytes(training),
        server_gpus=0 if machine is None else work.server_nodes * machine.gpus_per_node,
        seconds_range=None if timed is None else _range(training, replicas, machine),
    )


def _range(
    training: TrainingStep, replicas: int, machine: Hardware | None
) -> tuple[float, float] | None:
    """Return the least and the most seconds of an offloaded step; None: nothing is assumed."""
    if machine is None or not (training.offload and machine.host.assumed):
        return None
    slow, fast = (
        step_time(training, replicas, replace(machine, host=rates)).seconds
        for rates in machine.host.ends()
    )
    return None if slow is None or fast is None else (fast, slow)


def _loading_bytes(training: TrainingStep) -> int:
    """Return a GPU's memory while a model in 4 bits is loaded; 0 of others, which take no more.

    With sharded loading each rank quantizes its rows piece by piece, and stacks its own experts of
    a layer, which stay in 16 bits; what is offloaded leaves the GPU tensor by tensor. Without it,
    all of the model: the peak is the last matrix being quantized, or (under FSDP) the time when the
    whole model and this rank's shard of it are there together: measured on one H200, 8B, 10.68 GiB.
    """
    if training.method != "qlora":
        return 0
    model = training.model
    if training.sharded_loading:
        held = memory(training)
        largest = BF16_BYTES * model.embedding_parameters / training.shards
        weights = largest if training.offload else held.weights
        pieces = (BF16_BYTES + 0.5) * QUANTIZED_AT_ONCE
        # A matrix's in fp32: a rank's own, gathered, and once more while they are nested.
        blocks = model.largest_quantized_matrix / BLOCK
        scales = FP32_BYTES * blocks * (2 + 2 / training.shards)
        experts = BF16_BYTES * model.stacked_parameters / training.shards
        return int(weights + held.scales + max(pieces + scales, experts) + CONTEXT)
    alone = memory(replace(training, sharding="none", shards=1, adapter_parameters=0))
    shard = 0 if training.sharding == "none" else memory(training).weights
    if training.offload:
        shard = 0
    return (
        alone.weights
        + alone.scales
        + max(BF16_BYTES * model.layer_parameters, shard)
        + int(CONTEXT)
    )


def _longest(training: TrainingStep, room: int) -> int | None:
    """Return the tokens a sample may have, `seq_len` at most, for a step to fit."""
    length = training.seq_len

    def fits(tokens: int) -> bool:
        return memory(replace(training, seq_len=tokens)).total <= SAFE * room

    if fits(length):
        return length
    if not fits(min(SHORTEST_TOKENS, length)):
        return None
    low, high = min(SHORTEST_TOKENS, length), length
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _steps(work: Workload) -> int | None:
    if work.max_steps is not None:
        return work.max_steps
    if work.samples is None:
        return None
    return max(1, math.ceil(work.epochs * math.ceil(work.samples / work.samples_per_step)))
