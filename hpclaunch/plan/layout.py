"""How the model is sharded: which FSDP, over which ranks, in which precision."""

from __future__ import annotations

from typing import Literal

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.predict.sharding import shards_and_replicas
from hpclaunch.recipe.loading import check_loading
from hpclaunch.recipe.parallel import check_groups
from hpclaunch.recipe.schema import Performance, Recipe, Sharding
from hpclaunch.recipe.zero import under_deepspeed

Precision = Literal["bf16", "fp16", "fp8", "no"]
_PRECISION: dict[str, Precision] = {"bfloat16": "bf16", "float16": "fp16", "float32": "no"}


@frozen
class Layout:
    """The sharding of one job."""

    version: Literal[1, 2]
    sharding: Sharding
    replicas: int
    """Copies of the model: the nodes under hybrid sharding, every rank under none, else one."""
    shards: int
    """Ranks that share one copy."""
    precision: Precision
    offload: bool
    fsdp_activation_checkpointing: bool
    """FSDP's own. Only for a user's own program: with an adapter and sharded checkpoints it
    empties the checkpoint, so the built-in trainer uses Transformers' instead."""
    cpu_ram_efficient_loading: bool
    state_dict: Literal["sharded", "full"]
    compile: bool = False
    """Each layer is compiled."""
    engine: Literal["fsdp", "deepspeed"] = "fsdp"
    """What shards."""
    context: int = 1
    """Ranks that share each sequence, of those that share a copy."""


def layout(
    recipe: Recipe,
    nodes: int,
    per_node: int,
    device: Literal["gpu", "cpu"],
    *,
    own_program: bool = False,
) -> Layout:
    """Lay the recipe over `nodes` x `per_node` ranks. Raises UserError for what cannot be."""
    fsdp = recipe.fsdp
    if under_deepspeed(recipe):
        check_deepspeed(recipe, own_program=own_program)
    if fsdp.version == 1 and device == "cpu":
        raise UserError("FSDP 1 runs on GPUs only", "use --fsdp 2, or GPUs")
    if fsdp.offload and device == "cpu":
        raise UserError("offload moves shards from a GPU to the host", "leave it out on CPUs")
    if fsdp.offload and fsdp.sharding == "none":
        raise UserError("offload needs shards to offload", "use --sharding full")
    if fsdp.sharding == "hybrid" and nodes > 1 and per_node == 1:
        raise UserError(
            "hybrid sharding spreads the model inside a node, and each node has one process",
            "use --sharding full, or none",
        )
    if not own_program:
        check_loading(recipe)
    # On one node the shard group of hybrid is all there is: the same as full, without a mesh of 1.
    sharding: Sharding = "full" if fsdp.sharding == "hybrid" and nodes == 1 else fsdp.sharding
    shards, replicas = shards_and_replicas(sharding, nodes, per_node)
    check_groups(recipe, sharding, nodes, per_node)
    levers = Performance() if own_program else recipe.performance
    return Layout(
        version=fsdp.version,
        sharding=sharding,
        replicas=replicas,
        shards=shards,
        precision="fp8" if levers.fp8 else _PRECISION[recipe.model.dtype],
        offload=fsdp.offload,
        fsdp_activation_checkpointing=own_program
        and bool(recipe.training["gradient_checkpointing"]),
        cpu_ram_efficient_loading=fsdp.cpu_ram_efficient_loading,
        state_dict=fsdp.state_dict,
        compile=levers.compile,
        engine=fsdp.engine,
        context=fsdp.context_parallel,
    )


def check_deepspeed(recipe: Recipe, *, own_program: bool) -> None:
    """Refuse what DeepSpeed's ZeRO cannot do, or is not written for it. Raises UserError."""
    if recipe.fsdp.sharding not in {"full", "grad"}:
        raise UserError(
            f"--engine deepspeed with --sharding {recipe.fsdp.sharding}: no ZeRO stage is that",
            "use --sharding full (ZeRO-3) or grad (ZeRO-2)",
        )
    if recipe.fsdp.version == 1:
        raise UserError("--engine deepspeed with --fsdp 1: one of them shards", "leave one out")
    if own_program and recipe.training["gradient_checkpointing"]:
        raise UserError(
            "--engine deepspeed with --activation-checkpointing: a program of your own turns it on "
            "itself under DeepSpeed",
            "leave it out, and call gradient_checkpointing_enable() in the program",
        )
