"""Other layouts of the same fine-tune on the same machines, by predicted time.

The global batch does not change: a larger micro-batch means fewer of them. Of the candidates that
fit, each has a line on what makes it faster or slower than the recipe's own layout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from hpclaunch.frozen import frozen
from hpclaunch.predict.estimate import Estimate, Workload, estimate
from hpclaunch.predict.kernels import gathered_bytes
from hpclaunch.predict.sharding import shards_and_replicas
from hpclaunch.predict.step_time import Hardware
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.schema import Level, Recipe, Sharding
from hpclaunch.recipe.zero import under_deepspeed
from hpclaunch.site.schema import GpuType
from hpclaunch.units import duration

MOST_SAMPLES = 1024
"""Samples of a micro-batch up to which layouts are tried."""
DOUBT = 0.1
"""Share by which a layout that rests on assumed rates must be faster than any other to be taken."""


@frozen
class Candidate:
    """A layout that trains the same: the global batch does not change."""

    sharding: Sharding
    micro_batch_size: int
    """Samples of a micro-batch on one GPU (per_device_train_batch_size)."""
    gradient_accumulation_steps: int
    activation_checkpointing: bool
    offload: bool = False
    recomputed_mlps: bool = False
    """Activation checkpointing of gate and up in every MLP: less than that of whole layers."""
    deepspeed: bool = False
    """DeepSpeed's ZeRO shards, not FSDP: stage 3 or 2, by `sharding`."""

    @property
    def level(self) -> Level:
        """Return how much is computed again, as `performance.activation_checkpointing` says it."""
        if self.activation_checkpointing:
            return "whole"
        return "mlp" if self.recomputed_mlps else "none"

    def changes(self, own: Candidate) -> tuple[str, ...]:
        """Return the command-line arguments that choose it in place of the recipe's own layout."""
        words = {
            "sharding": f"--sharding {self.sharding}",
            "offload": "--offload" if self.offload else "--no-offload",
            "level": {
                "whole": "--activation-checkpointing",
                "none": "--no-activation-checkpointing",
                "mlp": "performance.activation_checkpointing=mlp",
            }[self.level],
            "micro_batch_size": f"training.per_device_train_batch_size={self.micro_batch_size}",
            "gradient_accumulation_steps": "training.gradient_accumulation_steps="
            f"{self.gradient_accumulation_steps}",
        }
        return tuple(
            word for name, word in words.items() if getattr(self, name) != getattr(own, name)
        )


def candidate_of(recipe: Recipe) -> Candidate:
    """Return the recipe's own layout."""
    return Candidate(
        recipe.fsdp.sharding,
        int(recipe.training["per_device_train_batch_size"]),
        int(recipe.training["gradient_accumulation_steps"]),
        bool(recipe.training["gradient_checkpointing"]),
        recipe.fsdp.offload,
        recipe.performance.activation_checkpointing == "mlp",
        under_deepspeed(recipe),
    )


@frozen
class Choice:
    """A candidate, its estimate, and how it differs from the recipe's own layout."""

    candidate: Candidate
    estimate: Estimate
    reason: str = ""


def with_candidate(
    base: TrainingStep, candidate: Candidate, nodes: int, per_node: int
) -> tuple[TrainingStep, int]:
    """Return one GPU's part of a step under a candidate, and the number of copies of the model."""
    shards, replicas = shards_and_replicas(candidate.sharding, nodes, per_node)
    how: Literal["full", "grad", "none"] = "full"
    if candidate.sharding == "none":
        how = "none"
    elif candidate.sharding == "grad":
        how = "grad"
    training = replace(
        base,
        sharding=how,
        shards=shards,
        micro_batch_size=candidate.micro_batch_size,
        gradient_accumulation_steps=candidate.gradient_accumulation_steps,
        activation_checkpointing=candidate.activation_checkpointing,
        offload=candidate.offload,
        recomputed_mlps=candidate.recomputed_mlps,
        deepspeed=candidate.deepspeed,
        sharded_loading=base.sharded_loading and how != "none",
        ranks_per_node=per_node,
    )
    return training, replicas


_LEVELS = ((True, False), (False, True), (False, False))
"""Activation checkpointing, and only of gate and up: whole, mlp, none."""


def candidates(
    now: Candidate,
    nodes: int,
    per_node: int,
    context_parallel: int = 1,
    *,
    fused: bool = False,
) -> Iterator[Candidate]:
    """Yield every layout with the same global batch, and as many ranks for each sequence.

    `fused`: layers are, so that gate and up alone can be computed again. DeepSpeed has no others
    than ZeRO-3 and ZeRO-2, without offload.
    """
    shardings: list[Sharding] = ["full", "grad"]
    if context_parallel == 1 and not now.deepspeed:
        shardings.append("none")
    if nodes > 1 and per_node > context_parallel and not now.deepspeed:
        shardings.append("hybrid")
    batch = now.micro_batch_size * now.gradient_accumulation_steps
    for sharding in shardings:
        if sharding != "none" and nodes * per_node == 1:
            continue
        for samples in _micro_batches(batch, now.micro_batch_size):
            for checkpointing, mlps in _LEVELS:
                if mlps and not fused:
                    continue
                for offload in (False, True):
                    if not (offload and (sharding == "none" or now.deepspeed)):
                        yield Candidate(
                            sharding,
                            samples,
                            batch // samples,
                            checkpointing,
                            offload,
                            mlps,
                            now.deepspeed,
                        )


def _micro_batches(batch: int, own: int) -> list[int]:
    """Return the samples of a micro-batch that divide a batch: none absurdly large, and the own."""
    small = range(1, min(batch, MOST_SAMPLES) + 1)
    return sorted({own, *(each for each in small if batch % each == 0)})


def compare(
    base: TrainingStep, now: Candidate, work: Workload, gpu: GpuType, machine: Hardware
) -> tuple[Choice, list[Choice]]:
    """Return the recipe's own layout, and all that fit, the fastest first."""
    nodes, per_node = machine.nodes, machine.gpus_per_node

    def choice_of(candidate: Candidate) -> Choice:
        training, replicas = with_candidate(base, candidate, nodes, per_node)
        return Choice(candidate, estimate(training, replicas, work, gpu, machine))

    own_choice = choice_of(now)
    tried = candidates(now, nodes, per_node, base.context_parallel, fused=base.fused_lora)
    fitting = [each for each in map(choice_of, tried) if each.estimate.fits]
    fitting = sorted(fitting, key=in_order)
    surest = fastest(fitting)
    return own_choice, [
        replace(each, reason=_reason(each, own_choice, surest, machine)) for each in fitting
    ]


def fastest(choices: Sequence[Choice]) -> Choice | None:
    """Return the layout to take: the fastest, whatever the rates that are assumed of the host.

    An offloaded layout counts with the most that its step may take, and a tenth more, by which
    predicted steps are off: it must win in any case. None where there is none.
    """
    return min(choices, key=_sure_rank, default=None)


def worth_offloading(choice: Choice, choices: Sequence[Choice]) -> bool:
    """Whether an offloaded layout is faster than each of `choices` without, whatever is assumed."""
    plain = fastest([each for each in choices if not each.candidate.offload])
    return plain is None or _sure_rank(choice) < in_order(plain)


def _sure_rank(choice: Choice) -> tuple[float, ...]:
    most = choice.estimate.certain_seconds
    if most is None and choice.candidate.offload:
        return (choice.estimate.fits is False, math.inf, True, choice.estimate.memory.total)
    if most is None or choice.estimate.seconds_range is None:
        return in_order(choice)
    return (choice.estimate.fits is False, most * (1 + DOUBT), True, choice.estimate.memory.total)


def in_order(choice: Choice) -> tuple[float, ...]:
    """Return what layouts are sorted by: what does not fit last, then time.

    Where the network is not known, what must cross it stands for the time.
    """
    step = choice.estimate.step
    seconds = step.seconds if step else None
    if seconds is None:
        training = choice.estimate.training
        gathers = 0 if training.sharding == "none" else training.gradient_accumulation_steps
        seconds = 1e9 + gathers * gathered_bytes(training) * training.shards
    # Of equals the one without offload, then the one that needs less.
    return (
        choice.estimate.fits is False,
        round(seconds, 3),
        choice.candidate.offload,
        choice.estimate.memory.total,
    )


def _reason(choice: Choice, now: Choice, surest: Choice | None, machine: Hardware) -> str:
    """Return in a line what makes the difference.

    `surest`: the layout that is fastest whatever is assumed.
    """
    candidate, other = choice.candidate, now.candidate
    reasons = []
    if candidate.sharding != other.sharding:
        reasons.append(
            {
                "full": "shards over all GPUs: least memory",
                "grad": "all-gathers each layer once a micro-batch",
                "hybrid": "only gradients cross nodes, once a step",
                "none": "no all-gather: a copy on every GPU",
            }[candidate.sharding]
        )
    number, before = candidate.gradient_accumulation_steps, other.gradient_accumulation_steps
    if number != before:
        reasons.append(f"{number} micro-batch{'es' * (number > 1)} a step instead of {before}")
    if candidate.level != other.level:
        reasons.append(
            {
                "whole": "activation checkpointing",
                "mlp": "activation checkpointing of gate and up",
                "none": "no activation checkpointing",
            }[candidate.level]
        )
    if candidate.offload:
        reasons.append("shards in host memory, fetched twice a micro-batch")
    step = choice.estimate.step
    exposed = step.exposed_communication if step else None
    if step and exposed is not None and exposed > 0.02 * step.compute:
        reasons.append(f"{duration(exposed)} of exposed communication a step")
    if step and step.waits_for_launches:
        reasons.append(f"{duration(step.launch_wait)} a step waiting for kernel launches")
    held = choice.estimate.seconds_range
    if held is not None:
        between = " to ".join(dict.fromkeys(map(duration, held)))
        reasons.append(f"{between} at the host's assumed rates")
        if surest is not None and surest is not choice and in_order(choice) < in_order(surest):
            reasons.append("not sure to win: it rests on those rates")
    return "; ".join(reasons) or "the recipe's own layout"
