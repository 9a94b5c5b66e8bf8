"""How many nodes: time and cost of the same fine-tune over a range of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpclaunch.frozen import frozen
from hpclaunch.predict.compare import Candidate, Choice, compare, fastest
from hpclaunch.predict.estimate import Workload
from hpclaunch.predict.step_time import Hardware
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.site.schema import GpuType

KNEE = 0.7
"""Efficiency (a share) below which more nodes cost more than they bring."""


@frozen
class ScalePoint:
    """The best layout on so many nodes."""

    nodes: int
    best: Choice | None
    """None where nothing fits."""
    tokens_per_second: float | None
    """Throughput of all GPUs."""
    efficiency: float | None
    """Throughput of a GPU, as a share of the best point's."""
    problem: str = ""
    """Why there is no layout, where it is not for memory."""


def scale(
    base: TrainingStep,
    now: Candidate,
    work: Workload,
    gpu: GpuType,
    machine: Hardware,
    nodes: Sequence[int],
    global_batch: int | None = None,
) -> list[ScalePoint]:
    """Return a point for each number of nodes.

    `global_batch`: rows of a step on all of them. Without one the batch of a GPU does not change,
    so the global batch grows with the nodes.
    """
    points: list[tuple[int, Choice | None, float | None]] = []
    for number in nodes:
        there = replace(machine, nodes=number)
        candidate = now
        ranks = number * machine.gpus_per_node // base.context_parallel
        if global_batch is not None:
            if global_batch % ranks:
                points.append((number, None, None))
                continue
            share = global_batch // ranks
            candidate = replace(now, micro_batch_size=1, gradient_accumulation_steps=share)
        if number == 1 and now.sharding == "hybrid":
            candidate = replace(candidate, sharding="full")
        there_work = _more(work, number, machine.nodes)
        if global_batch is not None:
            there_work = replace(work, samples_per_step=global_batch)
        _, fitting = compare(base, candidate, there_work, gpu, there)
        best = fastest(fitting)
        rate = None
        if best and best.estimate.step and best.estimate.step.tokens_per_second_per_gpu is not None:
            rate = best.estimate.step.tokens_per_second_per_gpu
        points.append((number, best, rate))
    most = max((rate for _, _, rate in points if rate is not None), default=None)
    return [
        ScalePoint(
            number,
            best,
            None if rate is None else rate * number * machine.gpus_per_node,
            None if rate is None or most is None else rate / most,
            _problem(global_batch, number * machine.gpus_per_node // base.context_parallel),
        )
        for number, best, rate in points
    ]


def _problem(global_batch: int | None, ranks: int) -> str:
    if global_batch is None or global_batch % ranks == 0:
        return ""
    below = global_batch // ranks * ranks
    nearest = f"{below} or {below + ranks}" if below else f"{ranks}"
    return f"a global batch of {global_batch} cannot be divided over {ranks} GPUs: {nearest} can"


def knee(points: Sequence[ScalePoint]) -> int | None:
    """Return the most nodes that still work well, None where that is not known."""
    good = [
        each.nodes for each in points if each.efficiency is not None and each.efficiency >= KNEE
    ]
    return max(good, default=None)


def _more(work: Workload, nodes: int, were: int) -> Workload:
    """Return the workload with a step's samples on another number of nodes."""
    return replace(work, samples_per_step=max(1, work.samples_per_step * nodes // were))
