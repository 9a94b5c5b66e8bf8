"""Predicted step times against measured ones, over sharding, method, link and accumulation.

    python -m tests.benchmarks.layouts [RATE ...]

Two nodes of two CPU ranks, joined by links as slow as `RATE` (as tc writes it; 100mbit and 400mbit
by default). First the machine is calibrated: the links by `hpclaunch preflight` at each rate, the
ranks' compute rate by four short trainings whose link nobody slows. Then every layout is trained
and held against the plan. Ends with 1 where the plan ranks two layouts of one case wrongly whose
measured times differ by a tenth. A minute a training on two quiet cores.
"""

from __future__ import annotations

import math
import statistics
import sys
from dataclasses import replace
from itertools import combinations, product

from hpclaunch.plan.compare import Layout, laid_out
from hpclaunch.plan.memory import Load
from hpclaunch.plan.speed import Machine, step
from hpclaunch.recipe.schema import MethodKind, Sharding
from tests.benchmarks.shaped import LENGTH, NODES, PER_NODE, RANK, Bench, bench

RATES = ["100mbit", "400mbit"]
DIFFERENT = 0.1
SHARDINGS: list[Sharding] = ["full", "hybrid"]
METHODS: list[MethodKind] = ["lora", "qlora"]
ACCUMULATIONS = [1, 4]


def load(on: Bench, method: MethodKind) -> Load:
    """Give the bench's fine-tune, not yet laid out."""
    adapter = on.model.adapter(RANK)
    return Load(on.model, method, adapter, "none", 1, 1, LENGTH)


def predicted(on: Bench, lay: Layout, method: MethodKind, machine: Machine) -> float:
    """Give the plan's seconds of a step."""
    seconds = step(*laid_out(load(on, method), lay, NODES, PER_NODE), machine).seconds
    assert seconds is not None
    return seconds


def calibrated(on: Bench) -> Machine:
    """Fit what the ranks compute to trainings over a link that nobody slowed."""
    inside, across = on.preflight()
    # On CPUs FSDP has no streams: it waits for all that it gathers and shares out.
    machine = Machine(
        NODES, PER_NODE, 1.0, 1.0, inside.gather_gb_s, across.gather_gb_s, 1.0, overlap=0.0
    )
    cases: list[tuple[Layout, MethodKind]] = [
        (Layout("hybrid", 1, 1, True), "lora"),
        (Layout("hybrid", 8, 1, True), "lora"),
        (Layout("hybrid", 1, 1, True), "qlora"),
        (Layout("hybrid", 8, 1, True), "qlora"),
    ]
    seconds = [on.train(lay, method, steps=9).seconds for lay, method in cases]

    def off(trial: Machine, some: slice) -> float:
        pairs = zip(cases[some], seconds[some], strict=True)
        return sum(
            math.log(predicted(on, lay, method, trial) / taken) ** 2
            for (lay, method), taken in pairs
        )

    def fine(low: float, high: float) -> list[float]:
        return [low * (high / low) ** (n / 80) for n in range(81)]

    machine = min(
        (
            replace(machine, tflops=tflops, short=short, memory_gb_s=1e6)
            for tflops in fine(1e-3, 10)
            for short in fine(1, 5000)
        ),
        key=lambda trial: off(trial, slice(0, 2)),
    )
    return min(
        (replace(machine, memory_gb_s=rate) for rate in fine(1e-3, 1e3)),
        key=lambda trial: off(trial, slice(2, 4)),
    )


def main() -> int:
    """Measure and print; gives the exit code."""
    rates = sys.argv[1:] or RATES
    wrong, offs = 0, []
    with bench() as on:
        machine = calibrated(on)
        print(
            f"calibrated: {machine.tflops * 1e3:.0f} GFLOP/s a rank, half of it at "
            f"{machine.short:.0f} tokens, 4-bit weights at {machine.memory_gb_s:.2f} GB/s, "
            f"{machine.link_gb_s:.2f} GB/s inside a node\n"
        )
        print("| link | method | layout | measured | predicted | off |\n|---|---|---|---|---|---|")
        for rate in rates:
            on.shape(rate)
            _, across = on.preflight()
            slow = replace(machine, network_gb_s=across.gather_gb_s)
            for method in METHODS:
                rows = []
                for sharding, accumulation in product(SHARDINGS, ACCUMULATIONS):
                    # The same global batch: fewer samples at once, more often.
                    lay = Layout(sharding, max(ACCUMULATIONS) // accumulation, accumulation, True)
                    taken = on.train(lay, method).seconds
                    told = predicted(on, lay, method, slow)
                    rows.append((taken, told))
                    offs.append(abs(told / taken - 1))
                    name = f"{sharding}, {lay.samples} x {lay.accumulation}"
                    print(
                        f"| {rate} | {method} | {name} | {taken:.2f} s | {told:.2f} s "
                        f"| {told / taken - 1:+.0%} |",
                        flush=True,
                    )
                for one, other in combinations(rows, 2):
                    apart = max(one[0], other[0]) > (1 + DIFFERENT) * min(one[0], other[0])
                    wrong += apart and (one[0] < other[0]) != (one[1] < other[1])
    print(f"\nranked wrongly: {wrong}; off by {statistics.median(offs):.0%} in the middle, "
          f"{max(offs):.0%} at most")  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
