"""What a plan will take: memory against the card, time, disk; each figure known or said unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hpclaunch.predict.architecture import Architecture
from hpclaunch.predict.memory import CONTEXT, GIB, Memory, TrainingStep, memory, trained
from hpclaunch.predict.step_time import Hardware, Step, step
from hpclaunch.recipe.schema import Lora, Recipe
from hpclaunch.site.schema import Gpu

USABLE = 0.98
"""Share of a card's memory that programs get, where the catalogue does not know better."""
SAFE = 0.95
"""Share of that which a plan fills at most: what is left is for what no plan predicts."""
LEAST = 256
"""Tokens of a sample below which a fine-tune is hardly meant."""


@dataclass(frozen=True)
class Work:
    """How much there is to do."""

    samples: int | None
    """In an epoch; None where that is not known before the data is there."""
    epochs: float
    max_steps: int | None
    samples_per_step: int


@dataclass(frozen=True)
class Estimate:
    """What to expect of a plan. Bytes, seconds, tokens."""

    load: TrainingStep
    replicas: int
    memory: Memory
    card: int | None
    """Bytes that the card gives to programs; None: the kind is not known."""
    longest: int | None
    """Tokens a sample may have for a step to fit; None where the card is not known or none fits."""
    step: Step | None
    """None where the card is not known."""
    steps: int | None
    checkpoint: int
    """Bytes of one checkpoint, all ranks together."""
    host: int
    """Bytes of a node's memory while the model is loaded."""
    loading: int
    """Bytes of each GPU while the model is loaded."""

    @property
    def peak(self) -> int:
        """Bytes of tensors on a GPU at most, in a step or (of 4-bit weights) before the first."""
        return max(self.memory.tensors, self.loading - int(CONTEXT))

    @property
    def fits(self) -> bool | None:
        """Whether the longest samples fit, with room to spare; None where that is not known."""
        if self.card is None:
            return None
        return max(self.memory.total, self.loading) <= SAFE * self.card

    @property
    def never(self) -> bool:
        """True where not even short samples fit, or the model cannot be loaded."""
        if self.card is None:
            return False
        return self.longest is None or self.loading > self.card

    @property
    def seconds(self) -> float | None:
        """Of the whole training, at full length."""
        if self.step is None or self.steps is None or self.step.seconds is None:
            return None
        return self.steps * self.step.seconds

    @property
    def gpu_hours(self) -> float | None:
        """GPU-hours to the end."""
        if self.seconds is None or self.step is None:
            return None
        return self.seconds / 3600 * self.step.gpus


def usable(card: Gpu) -> int:
    """Bytes of a card that programs get."""
    return int((card.usable_gib or USABLE * card.memory_gb) * GIB)


def work_of(recipe: Recipe, ranks: int, samples: int | None) -> Work:
    """Read off the recipe how much there is to do."""
    given = recipe.training
    limit = recipe.data.limit
    if samples is None or (limit is not None and limit < samples):
        samples = limit if limit is not None else samples
    most = given.get("max_steps")
    micro = int(given["per_device_train_batch_size"])
    return Work(
        samples=samples,
        epochs=float(given.get("num_train_epochs") or 1),
        max_steps=most if isinstance(most, int) and most > 0 else None,
        samples_per_step=micro * int(given["gradient_accumulation_steps"]) * ranks,
    )


def load_of(recipe: Recipe, model: Architecture) -> TrainingStep:
    """Put together what there is to do, by the recipe; not yet laid over GPUs."""
    given = recipe.training
    return TrainingStep(
        model=model,
        method=recipe.method.kind,
        adapter=0 if recipe.method.kind == "full" else adapter_weights(recipe.method.lora, model),
        sharding="none",
        shards=1,
        samples=int(given["per_device_train_batch_size"]),
        length=length_of(recipe),
        checkpointing=bool(given.get("gradient_checkpointing", True)),
        double=recipe.method.quantization.double,
        accumulation=int(given["gradient_accumulation_steps"]),
        adapted=adapted_in(recipe.method.lora, model),
    )


def length_of(recipe: Recipe) -> int:
    """Tokens of a sample at most; where the recipe cuts none, an assumption."""
    return int(recipe.training.get("max_length") or 4096)


def adapted_in(lora: Lora, model: Architecture) -> tuple[int, int, int] | None:
    """A layer's matrices with adapters, and the widths in and out; None: all, or a pattern."""
    if isinstance(lora.target_modules, str):
        return None
    some = [each for each in model.linears if each.name in lora.target_modules and each.copies == 1]
    return len(some), sum(each.inputs for each in some), sum(each.outputs for each in some)


def adapter_weights(lora: Lora, model: Architecture) -> int:
    """Numbers in the adapter; matrices named by patterns count as all."""
    if isinstance(lora.target_modules, str):
        whole = model.adapter(lora.r)
    else:
        ends = (
            each.copies * max(1, each.ranks) * (each.inputs + each.outputs)
            for each in model.linears
            if each.name in lora.target_modules
        )
        whole = model.layers * lora.r * sum(ends)
    saved = {"embed_tokens", "lm_head"} & set(lora.modules_to_save or [])
    return whole + len(saved) * model.embedding


def estimate(
    load: TrainingStep, replicas: int, work: Work, card: Gpu | None, machine: Hardware | None
) -> Estimate:
    """Put the figures together. Without a card there is memory, and no time."""
    timed = None
    if machine is not None and machine.tflops:
        timed = step(load, replicas, machine)
    room = None if card is None else usable(card)
    return Estimate(
        load=load,
        replicas=replicas,
        memory=memory(load),
        card=room,
        longest=None if room is None else _longest(load, room),
        step=timed,
        steps=_steps(work),
        # What is trained in 32 bits, and Adam's two moments. Frozen weights are not written.
        checkpoint=12 * trained(load),
        host=2 * load.model.weights,
        loading=_loading(load),
    )


def _loading(load: TrainingStep) -> int:
    """Bytes of a GPU while the model is loaded: 4-bit weights are made whole on each, then sharded.

    The highest point is the last matrix being quantized, or (under FSDP) the moment when the whole
    model and this rank's shard of it are there together: measured on one H200, 8B, 10.68 GiB.
    """
    if load.method != "qlora":
        return 0
    alone = memory(replace(load, sharding="none", shards=1, adapter=0))
    shard = 0 if load.sharding == "none" else memory(load).weights
    if load.offload:
        shard = 0
    return alone.weights + alone.scales + max(2 * load.model.layer_weights, shard) + int(CONTEXT)


def _longest(load: TrainingStep, room: int) -> int | None:
    """Return the tokens a sample may have, `length` at most, for a step to fit."""
    length = load.length

    def fits(tokens: int) -> bool:
        return memory(replace(load, length=tokens)).total <= SAFE * room

    if not fits(min(LEAST, length)):
        return None
    low, high = min(LEAST, length), length
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _steps(work: Work) -> int | None:
    if work.max_steps is not None:
        return work.max_steps
    if work.samples is None:
        return None
    return max(1, math.ceil(work.epochs * math.ceil(work.samples / work.samples_per_step)))
