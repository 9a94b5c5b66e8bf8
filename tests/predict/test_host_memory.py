"""A node's memory: whole models in fp32 while a full fine-tune loads, offloaded shards after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hpclaunch.predict.compare import Candidate, with_candidate
from hpclaunch.predict.families import architecture
from hpclaunch.predict.host_memory import PROCESS, HostMemory, host_memory
from hpclaunch.predict.training_step import TrainingStep
from tests.predict.shapes import SHAPES

MODEL = architecture(SHAPES["70b"])


def held(
    method: Any, nodes: int, per_node: int, *, offload: bool = False, sharded: bool = False
) -> HostMemory:
    adapter = 0 if method == "full" else MODEL.adapter_parameters(16)
    base = TrainingStep(MODEL, method, adapter, "none", 1, 1, 4096, True, sharded_loading=sharded)
    sharding: Any = "hybrid" if nodes > 1 else "full"
    lay = Candidate(sharding, 1, 8, True, offload)
    training, _ = with_candidate(base, lay, nodes, per_node)
    return host_memory(training)


def test_a_full_fine_tune_is_whole_in_fp32_on_every_rank() -> None:
    """70B on a node of 8: 8 x 282 GB."""
    found = held("full", 4, 8)
    assert (found.loading - 8 * PROCESS) / 1e12 == pytest.approx(2.258, rel=0.01)
    assert found.peak == found.loading
    assert held("full", 4, 4).loading == found.loading // 2


def test_an_adapters_base_is_mapped_and_not_held() -> None:
    found = held("lora", 4, 4)
    assert found.mapped == 2 * MODEL.parameters
    adapter = MODEL.adapter_parameters(16)
    assert found.loading == 4 * (PROCESS + 4 * adapter), "made whole on each rank, in fp32"
    step = TrainingStep(MODEL, "lora", adapter, "full", 16, 1, 4096, True, ranks_per_node=4)
    converted = replace(step, converted=True)
    assert host_memory(converted).loading - host_memory(step).loading == 4 * found.mapped


@pytest.mark.parametrize(("nodes", "copies"), [(1, 1), (4, 1)])
def test_offloaded_shards_lie_in_the_nodes_memory(nodes: int, copies: int) -> None:
    """One copy of the model a node, with what is trained in fp32 and AdamW's state."""
    found = held("lora", nodes, 4, offload=True)
    adapter = MODEL.adapter_parameters(16)
    expected = copies * (2 * MODEL.parameters + (4 + 4 + 8) * adapter)
    assert found.training - 4 * PROCESS == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("nodes", "read"), [(1, 1.0), (4, 1.0)])
def test_with_sharded_loading_no_rank_holds_the_model(method: Any, nodes: int, read: float) -> None:
    """Hybrid over 4 nodes: each node reads one copy, each of its ranks a part of it."""
    adapter = 0 if method == "full" else MODEL.adapter_parameters(16)
    found = held(method, nodes, 8, sharded=True)
    assert found.loading == int(8 * (PROCESS + 4 * adapter))
    assert found.mapped == 2 * MODEL.parameters * read


def test_a_node_reads_its_part_of_a_model_that_all_nodes_share() -> None:
    step = TrainingStep(MODEL, "full", 0, "full", 32, 1, 4096, True)
    step = replace(step, ranks_per_node=8, sharded_loading=True)
    assert host_memory(step).mapped == pytest.approx(2 * MODEL.parameters / 4, rel=0.01)
