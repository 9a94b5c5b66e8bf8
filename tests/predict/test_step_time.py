"""Predicted speeds against published ones, and what must hold whatever the figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpclaunch.predict.architecture import AdaptedMatrices
from hpclaunch.predict.families import architecture
from hpclaunch.predict.hardware import fit_speed
from hpclaunch.predict.kernels import gathered_bytes, token_flops
from hpclaunch.predict.step_time import Hardware, StepTime, reached, step_time
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.schema import MethodKind
from tests.predict.published import (
    A100,
    LENGTHS,
    MODEL,
    ONE_GPU,
    RUNS,
    Published,
    lora,
    qwen,
)
from tests.predict.shapes import SHAPES

METHODS: list[MethodKind] = ["full", "lora", "qlora"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_published_runs(run: Published) -> None:
    found = step_time(run.load, 1, run.machine)
    if run.tokens_per_gpu is not None:
        assert found.tokens_per_second_per_gpu == pytest.approx(run.tokens_per_gpu, rel=run.within)
    if run.step_seconds is not None:
        assert found.seconds == pytest.approx(run.step_seconds, rel=run.within)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_table_says_what_is_predicted_now(run: Published) -> None:
    found = step_time(run.load, 1, run.machine)
    text = (Path(__file__).parents[2] / "docs/evidence/plan.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {run.name} |")]
    _, _, published, predicted, off, _ = (cell.strip() for cell in row.split("|"))
    if run.tokens_per_gpu is not None:
        told, here = run.tokens_per_gpu, found.tokens_per_second_per_gpu
        assert (published, predicted) == (f"{told:,.0f} tokens/s", f"{here:,.0f} tokens/s")
    else:
        assert run.step_seconds is not None
        told, here = run.step_seconds, found.seconds
        assert (published, predicted) == (f"{told:,.0f} s a step", f"{here:,.0f} s a step")
    assert here is not None
    assert off == f"{here / told - 1:+.0%}"


ALONE = replace(A100, gpus_per_node=1, link_gb_s=None)
STEPS = [
    (size, length, seconds)
    for size, row in ONE_GPU.items()
    for length, seconds in zip(LENGTHS, row, strict=True)
]


@pytest.mark.parametrize(("size", "length", "told"), STEPS)
def test_published_steps_on_one_gpu(size: str, length: int, told: float) -> None:
    assert timed(qwen(size, length), 1, ALONE).seconds == pytest.approx(told, rel=0.15)


@pytest.mark.parametrize(("size", "known"), [(s, n) for s in ONE_GPU for n in LENGTHS[2:]])
def test_one_measured_step_tells_of_those_of_other_lengths(size: str, known: int) -> None:
    """As plans start from the last run of a model."""
    told = dict(zip(LENGTHS, ONE_GPU[size], strict=True))
    found = fit_speed(qwen(size, known), 1, ALONE, told[known])
    if size == "1.8B" and known == 1024:
        assert found.speed_factor is None and found.launch_s is not None, "it waits for launches"
        return
    assert found.speed_factor is not None
    machine = replace(ALONE, speed_factor=found.speed_factor)
    for length in LENGTHS[1:]:
        seconds = timed(qwen(size, length), 1, machine).seconds
        assert seconds == pytest.approx(told[length], rel=0.13), length


def test_a_step_that_waits_for_launches_tells_of_these_alone() -> None:
    """Whatever a slow CPU does at 256 tokens, the plan of 8,192 does not come from it."""
    short, long = qwen("1.8B", 256), qwen("1.8B", 8192)
    for launch in (8e-6, 12e-6, 32e-6):
        seconds = timed(short, 1, replace(ALONE, launch_s=launch)).seconds
        assert seconds is not None
        found = fit_speed(short, 1, ALONE, seconds)
        assert found.speed_factor is None and found.launch_s is not None
        assert found.launch_s == pytest.approx(launch, rel=0.01)
        assert timed(long, 1, replace(ALONE, launch_s=found.launch_s)) == timed(long, 1, ALONE)


@settings(deadline=None)
@given(
    pace=st.floats(0.05, 2.8), length=st.integers(2048, 8192), size=st.sampled_from(["7B", "14B"])
)
def test_a_pace_is_found_again(pace: float, length: int, size: str) -> None:
    load = qwen(size, length)
    seconds = timed(load, 1, replace(ALONE, speed_factor=pace)).seconds
    if seconds is not None and pace < 2:  # beyond, launches take longer than the work
        found = fit_speed(load, 1, ALONE, seconds)
        assert found.speed_factor == pytest.approx(pace, rel=0.01, abs=0.0006)


def test_the_table_of_one_gpu_says_what_is_predicted_now() -> None:
    text = (Path(__file__).parents[2] / "docs/evidence/plan.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| Qwen-")]
    assert lines == [one_gpu_row(size) for size in ONE_GPU]


def one_gpu_row(size: str) -> str:
    cells = []
    for length, told in zip(LENGTHS, ONE_GPU[size], strict=True):
        seconds = timed(qwen(size, length), 1, ALONE).seconds
        assert seconds is not None
        cells.append(f"{told:.1f}, {seconds:.1f} s, {seconds / told - 1:+.0%}")
    return f"| Qwen-{size} | {' | '.join(cells)} |"


def test_short_micro_batches_of_small_models_wait_for_launches() -> None:
    """At 256 tokens as long as at 512, and a fifth of what long ones get out of the GPU."""
    short, double, long = (timed(qwen("1.8B", length), 1, ALONE) for length in (256, 512, 8192))
    assert short.seconds == pytest.approx(double.seconds, rel=0.01)
    assert short.mfu is not None and long.mfu is not None
    assert short.mfu < 0.25 * long.mfu
    assert short.launch_wait > 0.4 * short.compute and long.launch_wait == 0.0


def test_sharding_over_one_node_does_not_make_short_steps_faster() -> None:
    """FSDP's hooks take a CPU's time, and what it gathers is moved."""
    node = replace(A100, gpus_per_node=4)
    for size in ("1.8B", "7B"):
        alone = replace(qwen(size, 256), gradient_accumulation_steps=1)
        shared = replace(alone, sharding="full", shards=4)
        assert timed(alone, 4, node).compute < timed(shared, 1, node).compute


def test_adapters_of_two_matrices_move_less_than_those_of_seven() -> None:
    every = qwen("7B", 2048)
    width = 2 * every.model.hidden_size
    two = replace(every, target_matrices=AdaptedMatrices(2, width, width))
    none = replace(every, target_matrices=AdaptedMatrices(0, 0, 0))
    seconds = [timed(each, 1, ALONE).compute for each in (none, two, every)]
    assert seconds == sorted(seconds)
    assert seconds[1] - seconds[0] < 0.3 * (seconds[2] - seconds[0])


def test_a_machine_fitted_to_whole_steps_counts_operations_alone() -> None:
    load = qwen("1.8B", 256)
    fitted = replace(ALONE, rates_of_whole_steps=True, half_rate_tokens=0.0)
    operations = (
        6
        * (load.model.active_parameters + load.adapter_parameters)
        * load.tokens
        * load.gradient_accumulation_steps
    )
    assert timed(load, 1, fitted).compute == pytest.approx(operations / 312e12, rel=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_offloaded_shards_take_their_time(method: MethodKind) -> None:
    held = replace(lora(8), method=method)
    machine = replace(A100, overlap=0.0)
    off = timed(replace(held, offload=True), 1, machine)
    plain = timed(held, 1, machine)
    assert off.optimizer > plain.optimizer
    assert off.exposed_communication is not None and plain.exposed_communication is not None
    # Each of 8 ranks fetches an eighth of 141 GB, or 36 in 4 bits, at 20 GB/s, twice.
    fetched = 2 * (36 if method == "qlora" else 141) / 8 / 20
    assert off.exposed_communication > plain.exposed_communication + 0.95 * fetched


def test_without_overlap_all_that_moves_is_waited_for() -> None:
    load = lora(8)
    hidden, waited = timed(load, 1, A100), timed(load, 1, replace(A100, overlap=0.0))
    assert waited.compute == hidden.compute
    gather = 2 * MODEL.parameters * 7 / 8 / reached(300e9)
    assert waited.exposed_communication == pytest.approx(2 * gather, rel=0.02)
    assert hidden.exposed_communication is not None
    assert hidden.exposed_communication < 0.1 * gather


def test_the_origins_step_waits_even_on_a_fast_network() -> None:
    (origin,) = [run for run in RUNS if run.step_seconds]
    fast = step_time(origin.load, 1, replace(origin.machine, network_gb_s=reached(25)))
    assert fast.exposed_communication is not None and fast.seconds is not None
    assert fast.exposed_communication > 0.8 * fast.seconds, (
        "short micro-batches wait even at 200 Gb/s"
    )


def test_an_unknown_network_leaves_the_time_unknown_across_nodes_alone() -> None:
    machine = replace(A100, nodes=2, gpus_per_node=4)
    across = step_time(lora(8), 1, machine)
    assert (across.exposed_communication, across.seconds, across.tokens_per_second_per_gpu) == (
        None,
        None,
        None,
    )
    assert across.compute > 0
    assert step_time(replace(lora(4), shards=4), 1, replace(machine, nodes=1)).seconds


def timed(load: TrainingStep, replicas: int, machine: Hardware) -> StepTime:
    found = step_time(load, replicas, machine)
    assert found.seconds is not None and found.exposed_communication is not None
    return found


@settings(deadline=None)
@given(
    rate=st.floats(0.1, 400),
    length=st.integers(64, 16384),
    accumulation=st.integers(1, 16),
    method=st.sampled_from(METHODS),
)
def test_what_must_hold(rate: float, length: int, accumulation: int, method: MethodKind) -> None:
    machine = replace(A100, nodes=4, gpus_per_node=4, network_gb_s=rate)
    load = replace(lora(16, length=length), gradient_accumulation_steps=accumulation, method=method)
    load = replace(load, adapter_parameters=0) if method == "full" else load
    made = timed(load, 1, machine)
    assert made.seconds and made.exposed_communication is not None and made.mfu
    assert made.compute > 0 and made.exposed_communication >= 0
    assert 0 < made.mfu < 1
    faster = timed(load, 1, replace(machine, network_gb_s=2 * rate))
    assert faster.seconds and faster.seconds <= made.seconds
    # Copies on every node move no weights between them; a ring of gradients twice over is the most.
    hybrid = timed(replace(load, shards=4), 4, machine)
    if method != "full":
        assert hybrid.seconds and hybrid.seconds <= made.seconds * 1.001
    longer = timed(replace(load, gradient_accumulation_steps=2 * accumulation), 1, machine)
    assert longer.seconds and longer.seconds > made.seconds


def test_a_token_meets_as_many_adapters_as_experts() -> None:
    """Of 128 experts it goes through eight, so their adapters are a small part of its work."""
    model = architecture(SHAPES["30b-a3b"])
    load = TrainingStep(model, "lora", model.adapter_parameters(16), "none", 1, 1, 2048, True)
    bare = token_flops(replace(load, adapter_parameters=0))
    assert bare < token_flops(load) < 1.05 * bare


def test_experts_that_ranks_cannot_share_alike_are_gathered_with_their_padding() -> None:
    """Eight stacked experts over sixteen ranks: FSDP 2 moves room for sixteen."""
    model = architecture(SHAPES["8x7b"])
    eight, sixteen = (
        gathered_bytes(
            TrainingStep(model, "lora", model.adapter_parameters(16), "full", ranks, 1, 2048, True)
        )
        for ranks in (8, 16)
    )
    assert sixteen - eight == 2 * model.layers * model.stacked_parameters
