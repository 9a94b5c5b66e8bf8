"""Other layouts of the same fine-tune on the same machines, by predicted time.

The global batch stays: a larger micro-batch means fewer of them. What fits comes first, and each
says in a line what makes it faster or slower than the layout at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from hpclaunch.predict.estimate import Estimate, Work, estimate
from hpclaunch.predict.kernels import gathered_bytes
from hpclaunch.predict.memory import TrainingStep
from hpclaunch.predict.step_time import Hardware
from hpclaunch.recipe.schema import Recipe, Sharding
from hpclaunch.site.schema import Gpu
from hpclaunch.units import duration


@dataclass(frozen=True)
class Layout:
    """What can be chosen without changing what is learnt."""

    sharding: Sharding
    samples: int
    """Of a micro-batch on one GPU."""
    accumulation: int
    checkpointing: bool
    offload: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """What to type for it."""
        words = [f"--sharding {self.sharding}"]
        words += ["--offload"] if self.offload else []
        words += [] if self.checkpointing else ["--no-checkpointing"]
        words.append(f"training.per_device_train_batch_size={self.samples}")
        words.append(f"training.gradient_accumulation_steps={self.accumulation}")
        return tuple(words)


def layout_of(recipe: Recipe) -> Layout:
    """Read off the recipe how it is laid out."""
    given = recipe.training
    return Layout(
        recipe.fsdp.sharding,
        int(given["per_device_train_batch_size"]),
        int(given["gradient_accumulation_steps"]),
        bool(given.get("gradient_checkpointing", True)),
        recipe.fsdp.offload,
    )


@dataclass(frozen=True)
class Choice:
    """A layout, what to expect of it, and how it differs from the one at hand."""

    layout: Layout
    estimate: Estimate
    reason: str = ""


def spread(sharding: Sharding, nodes: int, per_node: int) -> tuple[int, int]:
    """Return shards and replicas of a sharding over `nodes` x `per_node` ranks."""
    ranks = nodes * per_node
    replicas = {"full": 1, "grad": 1, "hybrid": nodes, "none": ranks}[sharding]
    return ranks // replicas, replicas


def laid_out(
    base: TrainingStep, lay: Layout, nodes: int, per_node: int
) -> tuple[TrainingStep, int]:
    """Return the load of one GPU under a layout, and the copies of the model."""
    shards, replicas = spread(lay.sharding, nodes, per_node)
    how: Literal["full", "grad", "none"] = "full"
    if lay.sharding == "none":
        how = "none"
    elif lay.sharding == "grad":
        how = "grad"
    load = replace(
        base,
        sharding=how,
        shards=shards,
        samples=lay.samples,
        accumulation=lay.accumulation,
        checkpointing=lay.checkpointing,
        offload=lay.offload,
    )
    return load, replicas


def layouts(now: Layout, nodes: int, per_node: int) -> Iterator[Layout]:
    """Return every layout with the same global batch."""
    shardings: list[Sharding] = ["full", "grad", "none"]
    if nodes > 1 and per_node > 1:
        shardings.append("hybrid")
    own = now.samples * now.accumulation
    for sharding in shardings:
        if sharding != "none" and nodes * per_node == 1:
            continue
        for samples in (each for each in range(1, own + 1) if own % each == 0):
            for checkpointing in (True, False):
                for offload in (False, True):
                    if not (offload and sharding == "none"):
                        yield Layout(sharding, samples, own // samples, checkpointing, offload)


def compare(
    base: TrainingStep, now: Layout, work: Work, card: Gpu, machine: Hardware
) -> tuple[Choice, list[Choice]]:
    """Return the layout at hand, and all that fit, the fastest first."""
    nodes, per_node = machine.nodes, machine.per_node

    def tried(lay: Layout) -> Choice:
        load, replicas = laid_out(base, lay, nodes, per_node)
        return Choice(lay, estimate(load, replicas, work, card, machine))

    at_hand = tried(now)
    fitting = [each for each in map(tried, layouts(now, nodes, per_node)) if each.estimate.fits]
    # Offload only where nothing else fits: what it costs rests on assumptions about the host.
    plain = [each for each in fitting if not each.layout.offload]
    fitting = sorted(plain or fitting, key=_rank)
    told = [replace(each, reason=_reason(each, at_hand, machine)) for each in fitting]
    return at_hand, told


def _rank(choice: Choice) -> tuple[float, ...]:
    """Sort by time; where the network is not known, by what must cross it."""
    step = choice.estimate.step
    seconds = step.seconds if step else None
    if seconds is None:
        load = choice.estimate.load
        gathers = 0 if load.sharding == "none" else load.accumulation
        seconds = 1e9 + gathers * gathered_bytes(load) * load.shards
    # Of equals the one that needs less.
    return (round(seconds, 3), choice.estimate.memory.total)


def _reason(choice: Choice, now: Choice, machine: Hardware) -> str:
    """Say in a line what makes the difference."""
    lay, other = choice.layout, now.layout
    said = []
    if lay.sharding != other.sharding:
        said.append(
            {
                "full": "shards over all GPUs: least memory",
                "grad": "gathers each layer once a micro-batch",
                "hybrid": "only gradients cross nodes, once a step",
                "none": "nothing is gathered: a copy on every GPU",
            }[lay.sharding]
        )
    if lay.accumulation != other.accumulation:
        many = f"{lay.accumulation} micro-batch{'es' * (lay.accumulation > 1)}"
        said.append(f"{many} a step instead of {other.accumulation}")
    if lay.checkpointing != other.checkpointing:
        said.append("recomputes activations" if lay.checkpointing else "recomputes nothing")
    if lay.offload:
        said.append("shards in host memory, fetched twice a micro-batch")
    step = choice.estimate.step
    if step and step.communication is not None and step.communication > 0.02 * step.compute:
        said.append(f"waits {duration(step.communication)} a step for the network")
    if step and step.waits_for_launches:
        said.append(f"waits {duration(step.launching)} a step for kernels to be launched")
    return "; ".join(said) or "the layout at hand"
