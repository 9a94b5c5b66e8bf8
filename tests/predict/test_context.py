"""Context parallelism in predictions: activations are divided, keys and values move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpclaunch.predict.compare import Candidate, candidates
from hpclaunch.predict.context import ring_bytes, ring_traffic
from hpclaunch.predict.families import architecture
from hpclaunch.predict.memory import memory
from hpclaunch.predict.step_time import Hardware, step_time
from hpclaunch.predict.training_step import TrainingStep
from tests.predict.shapes import SHAPES

LONG = TrainingStep(architecture(SHAPES["8b"]), "lora", 0, "full", 8, 1, 65536, True)
MACHINE = Hardware(
    nodes=1, gpus_per_node=8, tflops=989, memory_gb_s=3350, link_gb_s=450, network_gb_s=50
)


def test_activations_are_divided_and_shards_are_not() -> None:
    whole, split = memory(LONG), memory(replace(LONG, context_parallel=4))
    assert split.weights == whole.weights
    assert split.activations == pytest.approx(whole.activations / 4, rel=0.15)
    assert ring_bytes(LONG) == ring_traffic(LONG) == 0


def test_what_moves_between_the_ranks_of_a_sequence() -> None:
    """Llama 8B: 8 heads of keys and values with 128 values each, 32 layers, layers recomputed."""
    tokens, pairs = 65536 / 4, 2 * 8 * 128
    gathers = 3 * 2 * 3 * pairs  # forward, again, backward: 16 bits from three others
    gradients = 4 * 4 * pairs  # a round in 32 bits
    moved = ring_traffic(replace(LONG, context_parallel=4))
    assert moved == 32 * tokens * (gathers + gradients)


def test_a_step_takes_as_much_compute_for_each_token_and_more_communication() -> None:
    whole, split = (
        step_time(each, 1, MACHINE) for each in (LONG, replace(LONG, context_parallel=4))
    )
    assert split.tokens * 4 == whole.tokens
    assert split.compute == pytest.approx(whole.compute / 4, rel=0.02)
    assert (split.exposed_communication or 0) > (whole.exposed_communication or 0)
    nowhere = replace(MACHINE, link_gb_s=None)
    assert step_time(replace(LONG, context_parallel=4), 1, nowhere).seconds is None


def test_layouts_that_cannot_share_sequences_are_not_offered() -> None:
    now = Candidate("full", 1, 1, True)
    assert {each.sharding for each in candidates(now, 2, 4, 4)} == {"full", "grad"}
    assert {each.sharding for each in candidates(now, 2, 4, 2)} == {"full", "grad", "hybrid"}
    assert {each.sharding for each in candidates(now, 2, 4)} == {"full", "grad", "hybrid", "none"}
