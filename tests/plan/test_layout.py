"""How ranks are laid out."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.plan.layout import layout
from tests.plan.making import plan, recipe

SHARDINGS = ("full", "hybrid", "grad", "none")
RECIPES = {
    (sharding, version): recipe(f"fsdp.sharding={sharding}", f"fsdp.version={version}")
    for sharding in SHARDINGS
    for version in (1, 2)
}


@given(
    st.sampled_from(sorted(RECIPES)),
    st.integers(1, 512),
    st.integers(1, 16),
    st.sampled_from(["gpu", "cpu"]),
)
def test_every_rank_holds_a_shard_of_a_copy(
    which: tuple[str, int], nodes: int, per_node: int, device: Literal["gpu", "cpu"]
) -> None:
    sharding, version = which
    if (version == 1 and device == "cpu") or (sharding == "hybrid" and nodes > 1 == per_node):
        with pytest.raises(UserError):
            layout(RECIPES[which], nodes, per_node, device)
        return
    laid = layout(RECIPES[which], nodes, per_node, device)
    assert laid.replicas * laid.shards == nodes * per_node
    assert laid.version == version
    if sharding == "hybrid":
        assert laid.shards == per_node, "a copy never leaves its node"
    if laid.sharding == "none":
        assert laid.shards == 1


def test_hybrid_on_one_node_is_full() -> None:
    assert layout(recipe("fsdp.sharding=hybrid"), 1, 4, "gpu").sharding == "full"


def test_hybrid_with_one_process_a_node_has_nothing_to_shard_over() -> None:
    with pytest.raises(UserError, match=r"inside a node.*--sharding full"):
        layout(recipe("fsdp.sharding=hybrid"), 4, 1, "gpu")


@pytest.mark.parametrize(
    ("dtype", "precision"), [("bfloat16", "bf16"), ("float16", "fp16"), ("float32", "no")]
)
def test_precision_follows_the_weights(dtype: str, precision: str) -> None:
    assert layout(recipe(f"model.dtype={dtype}"), 1, 1, "gpu").precision == precision


@pytest.mark.parametrize(
    ("overrides", "device", "said"),
    [
        (("fsdp.version=1",), "cpu", "--fsdp 2"),
        (("fsdp.offload=true",), "cpu", "leave it out"),
        (("fsdp.offload=true", "fsdp.sharding=none"), "gpu", "needs shards"),
    ],
)
def test_what_cannot_work_is_refused(
    overrides: tuple[str, ...], device: Literal["gpu", "cpu"], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        layout(recipe(*overrides), 1, 4, device)


def test_fsdp_checkpoints_activations_only_for_a_program_of_ones_own() -> None:
    # With an adapter and sharded checkpoints FSDP's own empties the checkpoint, silently.
    wanted = recipe("training.gradient_checkpointing=true")
    assert not layout(wanted, 4, 4, "gpu").fsdp_activation_checkpointing
    assert layout(wanted, 4, 4, "gpu", own_program=True).fsdp_activation_checkpointing
    unwanted = recipe("training.gradient_checkpointing=false")
    assert not layout(unwanted, 4, 4, "gpu", own_program=True).fsdp_activation_checkpointing


def test_a_plan_carries_its_layout() -> None:
    made = plan(recipe("fsdp.sharding=hybrid"), nodes=2, gpus=4)
    assert (made.layout.replicas, made.layout.shards, made.processes) == (2, 4, 8)
