"""Predicted step times against measured ones, over sharding, method, link and accumulation.

    python -m tests.benchmarks.layouts [RATE ...]

Two nodes of two CPU ranks, joined by links as slow as `RATE` (as tc writes it; 100mbit and 400mbit
by default). The machine is calibrated: the links by `hpclaunch preflight` at each rate, the ranks'
compute rate by four short trainings whose link nobody slows. Then every layout is trained and held
against the plan. All of it is done twice, one round after the other, and of the two times the
lesser counts, in calibrating as well: what else goes on in a machine makes a step slower, never
faster. Ends with 1 where the plan ranks two layouts of one case wrongly whose measured times differ
by a tenth. A minute a training on two quiet cores, forty minutes in all.
"""

from __future__ import annotations

import math
import statistics
import sys
from dataclasses import dataclass, replace
from itertools import combinations, groupby, product

from hpclaunch.predict.compare import Candidate, with_candidate
from hpclaunch.predict.step_time import Hardware, step_time
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.schema import MethodKind, Sharding
from hpclaunch.site.measured import Rates
from tests.benchmarks.shaped import LENGTH, NODES, PER_NODE, RANK, Bench, bench

RATES = ["100mbit", "400mbit"]
ROUNDS = 2
DIFFERENT, NEAR = 0.1, 0.2
SHARDINGS: list[Sharding] = ["full", "hybrid"]
METHODS: list[MethodKind] = ["lora", "qlora"]
ACCUMULATIONS = [1, 4]
FREE = [
    (Candidate("hybrid", samples, accumulation, True), method)
    for method in METHODS
    for samples, accumulation in ((1, 4), (8, 1))
]
"""What the calibration trains, LoRA first: small and large micro-batches, steps of some seconds."""
FREE_STEPS = 6


@dataclass(frozen=True)
class Case:
    """What is trained over which link."""

    rate: str
    method: MethodKind
    layout: Candidate

    @property
    def name(self) -> str:
        """Return the layout in words: micro-batches of how many samples, times how many."""
        accumulation = self.layout.gradient_accumulation_steps
        return f"{self.layout.sharding}, {self.layout.micro_batch_size} x {accumulation}"


def load(on: Bench, method: MethodKind) -> TrainingStep:
    """Return the bench's fine-tune, not yet laid out."""
    adapter = on.model.adapter_parameters(RANK)
    return TrainingStep(on.model, method, adapter, "none", 1, 1, LENGTH, True)


def predicted(on: Bench, lay: Candidate, method: MethodKind, machine: Hardware) -> float:
    """Return the plan's seconds of a step."""
    seconds = step_time(*with_candidate(load(on, method), lay, NODES, PER_NODE), machine).seconds
    assert seconds is not None
    return seconds


def free_running(on: Bench) -> list[float]:
    """Train what the calibration needs, over links that nobody slows; gives seconds of a step."""
    return [on.train(lay, method, FREE_STEPS).seconds for lay, method in FREE]


def fitted(on: Bench, inside: Rates, across: Rates, seconds: list[float]) -> Hardware:
    """Fit what the ranks compute to the trainings of `free_running`."""
    # On CPUs FSDP has no streams: it waits for all that it gathers and shares out.
    machine = Hardware(
        NODES, PER_NODE, 1.0, 1.0, inside.gather_gb_s, across.gather_gb_s, 1.0,
        rates_of_whole_steps=True, overlap=0.0,
    )  # fmt: skip

    def off(trial: Hardware, some: slice) -> float:
        pairs = zip(FREE[some], seconds[some], strict=True)
        return sum(
            math.log(predicted(on, lay, method, trial) / taken) ** 2
            for (lay, method), taken in pairs
        )

    def fine(low: float, high: float) -> list[float]:
        return [low * (high / low) ** (n / 80) for n in range(81)]

    machine = min(
        (
            replace(machine, tflops=tflops, half_rate_tokens=short, memory_gb_s=1e6)
            for tflops in fine(1e-3, 10)
            for short in fine(1, 5000)
        ),
        key=lambda trial: off(trial, slice(0, 2)),
    )
    return min(
        (replace(machine, memory_gb_s=rate) for rate in fine(1e-3, 1e3)),
        key=lambda trial: off(trial, slice(2, 4)),
    )


def calibrated(on: Bench) -> Hardware:
    """Measure the links and the ranks' pace; the links must not be slowed yet."""
    inside, across = on.preflight()
    return fitted(on, inside, across, free_running(on))


def _told(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _cases(rates: list[str]) -> list[Case]:
    cases = []
    for rate, method, sharding, accumulation in product(rates, METHODS, SHARDINGS, ACCUMULATIONS):
        # The same global batch: fewer samples at once, more often.
        lay = Candidate(sharding, max(ACCUMULATIONS) // accumulation, accumulation, True)
        cases.append(Case(rate, method, lay))
    return cases


def _lesser(one: list[float], other: list[float]) -> list[float]:
    return [min(pair) for pair in zip(one, other, strict=True)] if one else other


def _measured(on: Bench, cases: list[Case]) -> tuple[Hardware, dict[str, float], list[list[float]]]:
    """Return the calibrated machine, the GB/s across by rate, and each case's times by round."""
    free: list[float] = []
    across: dict[str, float] = {}
    taken: list[list[float]] = [[] for _ in cases]
    for number in range(ROUNDS):
        if number:
            on.shape(None)
        links = on.preflight()
        free = _lesser(free, free_running(on))
        _told(f"free running: {', '.join(f'{each:.2f}' for each in free)} s")
        rate = ""
        for case, times in zip(cases, taken, strict=True):
            if case.rate != rate:
                rate = case.rate
                on.shape(rate)
                across[rate] = max(across.get(rate, 0.0), on.preflight()[1].gather_gb_s)
            times.append(on.train(case.layout, case.method).seconds)
            words = f"{case.rate} {case.method} {case.name}"
            _told(f"round {number + 1}: {words}: {times[-1]:.2f} s")
    return fitted(on, *links, free), across, taken


def main() -> int:
    """Measure and print; returns the exit code."""
    cases = _cases(sys.argv[1:] or RATES)
    with bench() as on:
        machine, across, taken = _measured(on, cases)
        told = [
            predicted(
                on, each.layout, each.method, replace(machine, network_gb_s=across[each.rate])
            )
            for each in cases
        ]
    print(
        f"calibrated: {machine.tflops * 1e3:.0f} GFLOP/s a rank, half of it at "
        f"{machine.half_rate_tokens:.0f} tokens, 4-bit weights at {machine.memory_gb_s:.2f} GB/s, "
        f"{machine.link_gb_s:.2f} GB/s inside a node\n"
    )
    print("| link | method | layout | measured, by round | predicted | off the lesser |")
    print("|---|---|---|---|---|---|")
    offs = [seconds / min(times) - 1 for seconds, times in zip(told, taken, strict=True)]
    for case, times, seconds, off in zip(cases, taken, told, offs, strict=True):
        rounds = ", ".join(f"{each:.2f}" for each in times)
        print(
            f"| {case.rate} | {case.method} | {case.name} | {rounds} s | {seconds:.2f} s "
            f"| {off:+.0%} |"
        )
    wrong = pairs = 0
    rows = zip(cases, map(min, taken), told, strict=True)
    for _, same in groupby(rows, lambda row: (row[0].rate, row[0].method)):
        for (_, one, first), (_, other, second) in combinations(same, 2):
            if max(one, other) > (1 + DIFFERENT) * min(one, other):
                pairs += 1
                wrong += (one < other) != (first < second)
    sizes = [abs(off) for off in offs]
    print(
        f"\nranked wrongly: {wrong} of {pairs} pairs; off by {statistics.median(sizes):.0%} in the "
        f"middle, {max(sizes):.0%} at most; {sum(size > NEAR for size in sizes)} of {len(sizes)} "
        f"beyond {NEAR:.0%}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
