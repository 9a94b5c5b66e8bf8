"""Other layouts of the same fine-tune on the same machines, by predicted time.

The global batch does not change: a larger micro-batch means fewer of them. Of the candidates that
fit, each has a line on what makes it faster or slower than the recipe's own layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from hpclaunch.predict.estimate import Estimate, Workload, estimate
from hpclaunch.predict.kernels import gathered_bytes
from hpclaunch.predict.sharding import shards_and_replicas
from hpclaunch.predict.step_time import Hardware
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.schema import Recipe, Sharding
from hpclaunch.site.schema import GpuType
from hpclaunch.units import duration


@dataclass(frozen=True)
class Candidate:
    """A layout that trains the same: the global batch does not change."""

    sharding: Sharding
    micro_batch_size: int
    """Samples of a micro-batch on one GPU (per_device_train_batch_size)."""
    gradient_accumulation_steps: int
    activation_checkpointing: bool
    offload: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """Command-line arguments that choose it."""
        arguments = [f"--sharding {self.sharding}"]
        arguments += ["--offload"] if self.offload else []
        arguments += [] if self.activation_checkpointing else ["--no-activation-checkpointing"]
        arguments.append(f"training.per_device_train_batch_size={self.micro_batch_size}")
        steps = self.gradient_accumulation_steps
        return (*arguments, f"training.gradient_accumulation_steps={steps}")


def candidate_of(recipe: Recipe) -> Candidate:
    """Return the recipe's own layout."""
    return Candidate(
        recipe.fsdp.sharding,
        int(recipe.training["per_device_train_batch_size"]),
        int(recipe.training["gradient_accumulation_steps"]),
        bool(recipe.training["gradient_checkpointing"]),
        recipe.fsdp.offload,
    )


@dataclass(frozen=True)
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
    )
    return training, replicas


def candidates(now: Candidate, nodes: int, per_node: int) -> Iterator[Candidate]:
    """Yield every layout with the same global batch."""
    shardings: list[Sharding] = ["full", "grad", "none"]
    if nodes > 1 and per_node > 1:
        shardings.append("hybrid")
    batch = now.micro_batch_size * now.gradient_accumulation_steps
    for sharding in shardings:
        if sharding != "none" and nodes * per_node == 1:
            continue
        for samples in (each for each in range(1, batch + 1) if batch % each == 0):
            for checkpointing in (True, False):
                for offload in (False, True):
                    if not (offload and sharding == "none"):
                        yield Candidate(sharding, samples, batch // samples, checkpointing, offload)


def compare(
    base: TrainingStep, now: Candidate, work: Workload, gpu: GpuType, machine: Hardware
) -> tuple[Choice, list[Choice]]:
    """Return the recipe's own layout, and all that fit, the fastest first."""
    nodes, per_node = machine.nodes, machine.gpus_per_node

    def choice_of(candidate: Candidate) -> Choice:
        training, replicas = with_candidate(base, candidate, nodes, per_node)
        return Choice(candidate, estimate(training, replicas, work, gpu, machine))

    own_choice = choice_of(now)
    fitting = [
        each for each in map(choice_of, candidates(now, nodes, per_node)) if each.estimate.fits
    ]
    # Offload only where nothing else fits: what it costs rests on assumptions about the host.
    plain = [each for each in fitting if not each.candidate.offload]
    fitting = sorted(plain or fitting, key=_rank)
    ranked = [replace(each, reason=_reason(each, own_choice, machine)) for each in fitting]
    return own_choice, ranked


def _rank(choice: Choice) -> tuple[float, ...]:
    """Sort by time; where the network is not known, by what must cross it."""
    step = choice.estimate.step
    seconds = step.seconds if step else None
    if seconds is None:
        training = choice.estimate.training
        gathers = 0 if training.sharding == "none" else training.gradient_accumulation_steps
        seconds = 1e9 + gathers * gathered_bytes(training) * training.shards
    # Of equals the one that needs less.
    return (round(seconds, 3), choice.estimate.memory.total)


def _reason(choice: Choice, now: Choice, machine: Hardware) -> str:
    """Return in a line what makes the difference."""
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
    if candidate.activation_checkpointing != other.activation_checkpointing:
        word = "" if candidate.activation_checkpointing else "no "
        reasons.append(f"{word}activation checkpointing")
    if candidate.offload:
        reasons.append("shards in host memory, fetched twice a micro-batch")
    step = choice.estimate.step
    exposed = step.exposed_communication if step else None
    if step and exposed is not None and exposed > 0.02 * step.compute:
        reasons.append(f"{duration(exposed)} of exposed communication a step")
    if step and step.waits_for_launches:
        reasons.append(f"{duration(step.launch_wait)} a step waiting for kernel launches")
    return "; ".join(reasons) or "the recipe's own layout"
