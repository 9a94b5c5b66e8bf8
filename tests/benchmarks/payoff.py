"""What choosing the layout brings: the origin's against what `--sharding auto --batch auto` takes.

    python -m tests.benchmarks.payoff [RATE]

Two nodes of two CPU ranks over a slow link, the same model, data and global batch. By default the
link is so slow that the origin's layout waits for it as long, beside its compute, as the job waits
that this project comes from: 70B by LoRA, 4 nodes of 4 A100-40, 10 Gbit/s, by the plan. Or RATE, as
tc writes it: 500mbit. That layout is full shard over all ranks, one sample at once, eight times a
step.
The other is the first that fits by the plan, from the links as `hpclaunch preflight` measured them
and the ranks' compute rate as four short trainings did. Ends with 1 where it is not faster, or
the losses differ by more than bfloat16's rounding.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from hpclaunch.predict.compare import Candidate, compare, with_candidate
from hpclaunch.predict.estimate import Workload
from hpclaunch.predict.families import architecture
from hpclaunch.predict.step_time import Hardware, StepTime, reached, step_time
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import GpuType
from tests.benchmarks.layouts import calibrated, load
from tests.benchmarks.shaped import LENGTH, NODES, PER_NODE, Bench, bench
from tests.predict.shapes import SHAPES

ORIGIN = Candidate("full", 1, 8, True)
ROUNDING = 0.01
"""Nats of loss: bfloat16 has eight bits, and sums in another order."""
STEPS = 4
"""The first does not count; the origin's takes a minute and more."""


def waiting(step: StepTime) -> float:
    """Return the seconds a step waits for the network, over those it computes."""
    assert step.exposed_communication is not None
    return step.exposed_communication / step.compute


def origins_waiting() -> float:
    """Return the same of the job that this project comes from, by the plan."""
    model, card = architecture(SHAPES["70b"]), gpus()["a100_40"]
    assert card.bf16_tflops
    machine = Hardware(
        4, 4, card.bf16_tflops, card.bandwidth_gb_s, reached(card.link_gb_s), reached(1.25)
    )
    adapter = model.adapter_parameters(16)
    training = TrainingStep(model, "lora", adapter, "none", 1, 1, 4096, True)
    return waiting(step_time(*with_candidate(training, ORIGIN, 4, 4), machine))


def as_slow(on: Bench, machine: Hardware, wanted: float) -> str:
    """Return the rate of a link, as tc writes it, at which the origin's layout waits so long."""
    laid_out = with_candidate(load(on, "lora"), ORIGIN, NODES, PER_NODE)
    low, high = 1e-5, 10.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        slower = waiting(step_time(*laid_out, replace(machine, network_gb_s=middle))) > wanted
        low, high = (middle, high) if slower else (low, middle)
    return f"{8e3 * low:.0f}mbit"


def main() -> int:
    """Measure and print; returns the exit code."""
    with bench() as on:
        machine = calibrated(on)
        wanted = origins_waiting()
        rate = sys.argv[1] if len(sys.argv) > 1 else as_slow(on, machine, wanted)
        on.shape(rate)
        _, across = on.preflight()
        machine = replace(machine, network_gb_s=across.gather_gb_s)
        # Of the card only the memory is asked: the rates are the machine's.
        card = GpuType(name="a CPU rank", memory_gb=8, bandwidth_gb_s=1.0, link_gb_s=1.0)
        work = Workload(None, 1, 10, 8 * NODES * PER_NODE)
        now, fitting = compare(load(on, "lora"), ORIGIN, work, card, machine)
        assert now.estimate.step
        print(
            f"{rate}: the origin's layout waits {waiting(now.estimate.step):.1f} times as long "
            f"as it computes, by the plan; the job itself {wanted:.1f} times",
            flush=True,
        )
        best = next(each for each in fitting if each.candidate.activation_checkpointing)
        found = {}
        for name, choice in (("origin's", now), ("auto's", best)):
            lay = choice.candidate
            trained = on.train(lay, "lora", STEPS)
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
