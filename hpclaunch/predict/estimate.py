"""What a plan will take: memory against the GPU's, time, disk; None where unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hpclaunch.predict.architecture import AdaptedMatrices, Architecture, adapted
from hpclaunch.predict.memory import (
    ADAM_STATE_BYTES,
    BF16_BYTES,
    CONTEXT,
    FP32_BYTES,
    GIB,
    Memory,
    memory,
)
from hpclaunch.predict.step_time import Hardware, StepTime, step_time
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.schema import Lora, Recipe
from hpclaunch.site.schema import GpuType

USABLE = 0.98
"""Share of a GPU's memory that programs get, where the catalogue does not know better."""
SAFE = 0.95
"""Share of that which a plan fills at most: what is left is for what no plan predicts."""
SHORTEST_TOKENS = 256
"""Tokens of a sample below which a fine-tune is hardly meant."""
CHECKPOINT_BYTES = FP32_BYTES + ADAM_STATE_BYTES
"""Bytes of a trained parameter in a checkpoint: in fp32, with AdamW's state."""


@dataclass(frozen=True)
class Workload:
    """How many samples and steps there are."""

    samples: int | None
    """Samples in an epoch; None where that is not known before the data is there."""
    epochs: float
    """Number of passes over the data, or part of one."""
    max_steps: int | None
    samples_per_step: int


@dataclass(frozen=True)
class Estimate:
    """What to expect of a plan."""

    training: TrainingStep
    replicas: int
    memory: Memory
    usable_bytes: int | None
    """Memory of the GPU that programs get; None: the GPU type is not known."""
    longest_sample_tokens: int | None
    """Tokens a sample may have for a step to fit; None where the GPU is not known or none fits."""
    step: StepTime | None
    """None where the GPU is not known."""
    steps: int | None
    checkpoint_bytes: int
    """One checkpoint, all ranks together."""
    host_bytes: int
    """A node's memory while the model is loaded."""
    loading_bytes: int
    """Memory of each GPU while the model is loaded."""

    @property
    def peak_tensor_bytes(self) -> int:
        """Bytes of tensors on a GPU at most, in a step or (of 4-bit weights) before the first."""
        return max(self.memory.tensors, self.loading_bytes - int(CONTEXT))

    @property
    def fits(self) -> bool | None:
        """Whether the longest samples fit, with room to spare; None where that is not known."""
        if self.usable_bytes is None:
            return None
        return max(self.memory.total, self.loading_bytes) <= SAFE * self.usable_bytes

    @property
    def never_fits(self) -> bool:
        """True where not even short samples fit, or the model cannot be loaded."""
        if self.usable_bytes is None:
            return False
        return self.longest_sample_tokens is None or self.loading_bytes > self.usable_bytes

    @property
    def seconds(self) -> float | None:
        """Seconds of the whole training, at full length."""
        if self.step is None or self.steps is None or self.step.seconds is None:
            return None
        return self.steps * self.step.seconds

    @property
    def gpu_hours(self) -> float | None:
        """GPU-hours to the end."""
        if self.seconds is None or self.step is None:
            return None
        return self.seconds / 3600 * self.step.gpus


def usable(gpu: GpuType) -> int:
    """Return the bytes of a GPU's memory that programs get."""
    return int((gpu.usable_gib or USABLE * gpu.memory_gb) * GIB)


def workload_of(recipe: Recipe, ranks: int, samples: int | None) -> Workload:
    """Return how many samples and steps the recipe has.

    `samples`: of the data, where they are known.
    """
    limit = recipe.data.limit
    if samples is None or (limit is not None and limit < samples):
        samples = limit if limit is not None else samples
    most = recipe.training.get("max_steps")
    micro = int(recipe.training["per_device_train_batch_size"])
    return Workload(
        samples=samples,
        epochs=float(recipe.training.get("num_train_epochs") or 1),
        max_steps=most if isinstance(most, int) and most > 0 else None,
        samples_per_step=micro * int(recipe.training["gradient_accumulation_steps"]) * ranks,
    )


def training_step_of(recipe: Recipe, model: Architecture) -> TrainingStep:
    """Return the recipe's step on one GPU, without sharding: `with_candidate` adds it."""
    return TrainingStep(
        model=model,
        method=recipe.method.kind,
        adapter_parameters=0
        if recipe.method.kind == "full"
        else adapter_parameters_of(recipe.method.lora, model),
        sharding="none",
        shards=1,
        micro_batch_size=int(recipe.training["per_device_train_batch_size"]),
        seq_len=seq_len_of(recipe),
        activation_checkpointing=bool(recipe.training["gradient_checkpointing"]),
        double_quant=recipe.method.quantization.double,
        gradient_accumulation_steps=int(recipe.training["gradient_accumulation_steps"]),
        target_matrices=target_matrices_of(recipe.method.lora, model),
    )


def seq_len_of(recipe: Recipe) -> int:
    """Return the tokens of a sample at most; 4096 is assumed where the recipe cuts none."""
    return int(recipe.training.get("max_length") or 4096)


def target_matrices_of(lora: Lora, model: Architecture) -> AdaptedMatrices | None:
    """Return a layer's matrices with adapters; None: all, or those of a pattern."""
    targets = lora.target_modules
    if isinstance(targets, str):
        return None
    return adapted(each for each in model.linears if each.name in targets and each.copies == 1)


def adapter_parameters_of(lora: Lora, model: Architecture) -> int:
    """Return the parameters of the adapter; matrices named by a pattern count as all."""
    if isinstance(lora.target_modules, str):
        whole = model.adapter_parameters(lora.r)
    else:
        ends = (
            each.copies * max(1, each.adapter_ranks) * (each.in_features + each.out_features)
            for each in model.linears
            if each.name in lora.target_modules
        )
        whole = model.layers * lora.r * sum(ends)
    saved = {"embed_tokens", "lm_head"} & set(lora.modules_to_save or [])
    return whole + len(saved) * model.embedding_parameters


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
        longest_sample_tokens=None if room is None else _longest(training, room),
        step=timed,
        steps=_steps(work),
        # Frozen parameters are not written.
        checkpoint_bytes=CHECKPOINT_BYTES * training.trained_parameters,
        host_bytes=BF16_BYTES * training.model.parameters,
        loading_bytes=_loading_bytes(training),
    )


def _loading_bytes(training: TrainingStep) -> int:
    """Return a GPU's memory while the model is loaded: all of it in 4 bits, then sharded.

    The peak is the last matrix being quantized, or (under FSDP) the time when the whole model and
    this rank's shard of it are there together: measured on one H200, 8B, 10.68 GiB.
    """
    if training.method != "qlora":
        return 0
    alone = memory(replace(training, sharding="none", shards=1, adapter_parameters=0))
    shard = 0 if training.sharding == "none" else memory(training).weights
    if training.offload:
        shard = 0
    return (
        alone.weights
        + alone.scales
        + max(BF16_BYTES * training.model.layer_parameters, shard)
        + int(CONTEXT)
    )


def _longest(training: TrainingStep, room: int) -> int | None:
    """Return the tokens a sample may have, `seq_len` at most, for a step to fit."""
    length = training.seq_len

    def fits(tokens: int) -> bool:
        return memory(replace(training, seq_len=tokens)).total <= SAFE * room

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
