"""What choosing the layout brings: the origin's against what `--sharding auto --batch auto` takes.

    python -m tests.benchmarks.payoff [RATE]

Two nodes of two CPU ranks over a slow link (500mbit by default), the same model, data and global
batch. The origin's layout is full shard over all ranks, one sample at once, eight times a step.
The other is the first that fits by the plan, from the links as `hpclaunch preflight` measured them
and the ranks' compute rate as four short trainings did. Ends with 1 where it is not faster, or
the losses differ by more than bfloat16's rounding.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from hpclaunch.predict.compare import Candidate, compare
from hpclaunch.predict.estimate import Workload
from hpclaunch.site.schema import GpuType
from tests.benchmarks.layouts import calibrated, load
from tests.benchmarks.shaped import LENGTH, NODES, PER_NODE, bench

RATE = "500mbit"
ORIGIN = Candidate("full", 1, 8, True)
ROUNDING = 0.01
"""Nats of loss: bfloat16 has eight bits, and sums in another order."""


def main() -> int:
    """Measure and print; returns the exit code."""
    rate = sys.argv[1] if len(sys.argv) > 1 else RATE
    with bench() as on:
        machine = calibrated(on)
        on.shape(rate)
        _, across = on.preflight()
        machine = replace(machine, network_gb_s=across.gather_gb_s)
        # Of the card only the memory is asked: the rates are the machine's.
        card = GpuType(name="a CPU rank", memory_gb=8, bandwidth_gb_s=1.0, link_gb_s=1.0)
        work = Workload(None, 1, 10, 8 * NODES * PER_NODE)
        now, fitting = compare(load(on, "lora"), ORIGIN, work, card, machine)
        best = next(each for each in fitting if each.candidate.activation_checkpointing)
        found = {}
        for name, choice in (("origin's", now), ("auto's", best)):
            lay = choice.candidate
            trained = on.train(lay, "lora")
            found[name] = trained
            tokens = 8 * NODES * PER_NODE * LENGTH
            told = choice.estimate.step.seconds if choice.estimate.step else None
            print(
                f"{name:<9} {lay.sharding:<7} {lay.micro_batch_size} x "
                f"{lay.gradient_accumulation_steps}: "
                f"{tokens / trained.seconds:>7,.0f} tokens/s ({trained.seconds:.2f} s a step, "
                f"{told:.2f} s predicted), last loss {trained.losses[-1]:.4f}",
                flush=True,
            )
    one, other = found["origin's"], found["auto's"]
    apart = max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True))
    faster = one.seconds / other.seconds
    print(f"{faster:.1f} times as fast at {rate}; losses differ by {apart:.4f}")
    return 0 if faster > 1 and apart < ROUNDING else 1


if __name__ == "__main__":
    sys.exit(main())
