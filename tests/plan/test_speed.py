"""Predicted speeds against published ones, and what must hold whatever the figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.plan.architecture import architecture
from hpclaunch.plan.memory import Load
from hpclaunch.plan.speed import Machine, Step, reached, step
from hpclaunch.recipe.schema import MethodKind
from tests.plan.shapes import SHAPES

MODEL = architecture(SHAPES["70b"])
METHODS: list[MethodKind] = ["full", "lora", "qlora"]
A100 = Machine(1, 8, 312, 2039, reached(300), None)


def lora(shards: int, samples: int = 1, length: int = 4096, rank: int = 16) -> Load:
    return Load(MODEL, "lora", MODEL.adapter(rank), "full", shards, samples, length)


def full(shards: int) -> Load:
    return Load(MODEL, "full", 0, "full", shards, 1, 4096)


PUBLISHED = {
    # name: load, machine, tokens/s a GPU. Micro-batches that are not published are taken as 4,096.
    "torchtune, LoRA on 8 A100": (lora(8), A100, 437),
    "fsdp_qlora, QLoRA on 4 A100-40": (
        replace(lora(4, 8, 512, 64), method="qlora"), replace(A100, per_node=4), 414,
    ),
    "full on 64 A100": (full(64), replace(A100, nodes=8, network_gb_s=reached(100)), 331),
    "full on 128 H100": (full(128), Machine(16, 8, 989, 3350, reached(450), reached(400)), 1058),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_speeds(name: str) -> None:
    load, machine, published = PUBLISHED[name]
    assert step(load, 1, machine).tokens_per_gpu == pytest.approx(published, rel=0.1)


def test_a_published_speed_with_offload() -> None:
    """fsdp_qlora on two RTX 4090: 238 tokens/s a GPU. What is assumed of the host is rough."""
    load = replace(lora(2, 8, 512, 64), method="qlora", offload=True)
    cards = Machine(1, 2, 165, 1008, reached(32), None)
    assert step(load, 1, cards).tokens_per_gpu == pytest.approx(238, rel=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_offloaded_shards_take_their_time(method: MethodKind) -> None:
    held = replace(lora(8), method=method)
    machine = replace(A100, overlap=0.0)
    off = timed(replace(held, offload=True), 1, machine)
    plain = timed(held, 1, machine)
    assert off.optimizer > plain.optimizer
    assert off.communication is not None and plain.communication is not None
    # Each of 8 ranks fetches an eighth of 141 GB, or 36 in 4 bits, at 20 GB/s, twice.
    fetched = 2 * (36 if method == "qlora" else 141) / 8 / 20
    assert off.communication > plain.communication + 0.95 * fetched


def test_without_overlap_all_that_moves_is_waited_for() -> None:
    load = lora(8)
    hidden, waited = timed(load, 1, A100), timed(load, 1, replace(A100, overlap=0.0))
    assert waited.compute == hidden.compute
    gather = 2 * MODEL.weights * 7 / 8 / reached(300e9)
    assert waited.communication == pytest.approx(2 * gather, rel=0.02)
    assert hidden.communication is not None
    assert hidden.communication < 0.1 * gather


def test_the_origins_step_at_socket_speed() -> None:
    """3,000 s a step were seen, full shard over 4 nodes of 4 A100 with 8 micro-batches."""
    origin = replace(lora(16, length=512), accumulation=8)
    machine = replace(A100, nodes=4, per_node=4)
    slow = step(origin, 1, replace(machine, network_gb_s=reached(1.25)))
    assert slow.seconds == pytest.approx(3000, rel=0.25)
    fast = step(origin, 1, replace(machine, network_gb_s=reached(25)))
    assert fast.communication is not None and fast.seconds is not None
    assert fast.communication > 0.8 * fast.seconds, "short micro-batches wait even at 200 Gb/s"


def test_an_unknown_network_leaves_the_time_unknown_across_nodes_alone() -> None:
    machine = replace(A100, nodes=2, per_node=4)
    across = step(lora(8), 1, machine)
    assert (across.communication, across.seconds, across.tokens_per_gpu) == (None, None, None)
    assert across.compute > 0
    assert step(replace(lora(4), shards=4), 1, replace(machine, nodes=1)).seconds


def timed(load: Load, replicas: int, machine: Machine) -> Step:
    found = step(load, replicas, machine)
    assert found.seconds is not None and found.communication is not None
    return found


@given(
    rate=st.floats(0.1, 400),
    length=st.integers(64, 16384),
    accumulation=st.integers(1, 16),
    method=st.sampled_from(METHODS),
)
def test_what_must_hold(rate: float, length: int, accumulation: int, method: MethodKind) -> None:
    machine = replace(A100, nodes=4, per_node=4, network_gb_s=rate)
    load = replace(lora(16, length=length), accumulation=accumulation, method=method)
    load = replace(load, adapter=0) if method == "full" else load
    made = timed(load, 1, machine)
    assert made.seconds and made.communication is not None and made.of_peak
    assert made.compute > 0 and made.communication >= 0
    assert 0 < made.of_peak < 1
    faster = timed(load, 1, replace(machine, network_gb_s=2 * rate))
    assert faster.seconds and faster.seconds <= made.seconds
    # Copies on every node move no weights between them; a ring of gradients twice over is the most.
    hybrid = timed(replace(load, shards=4), 4, machine)
    if method != "full":
        assert hybrid.seconds and hybrid.seconds <= made.seconds * 1.001
    longer = timed(replace(load, accumulation=2 * accumulation), 1, machine)
    assert longer.seconds and longer.seconds > made.seconds
