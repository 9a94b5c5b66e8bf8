"""`fsdp.context_parallel` and `fsdp.tensor_parallel`: what they change in a recipe, and refuse.

Context parallelism splits every sequence over N ranks, which compute its attention as a ring. It
drops all attention masks but the causal one, so rows are not packed, and are padded to a multiple
of 2 N tokens: each rank gets one piece of the front and one of the back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hpclaunch.errors import UserError
from hpclaunch.recipe.levers import switched_on
from hpclaunch.recipe.objectives import OBJECTIVES
from hpclaunch.recipe.schema import Recipe, Sharding

FIELD, TENSOR_FIELD = "fsdp.context_parallel", "fsdp.tensor_parallel"
PADDING = "pad_to_multiple_of"
FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""`model_type`s whose training was held against one without context parallelism, by tests."""


def data_parallel_ranks(recipe: Recipe, ranks: int) -> int:
    """Return how many ranks learn from rows of their own, of `ranks`.

    Those that share a sequence count as one. Raises UserError where they cannot be grouped so.
    """
    size = recipe.fsdp.context_parallel
    if ranks % size:
        raise UserError(
            f"{FIELD}: {size} does not divide {_in_words(ranks)}",
            f"take a divisor of {ranks}, or a multiple of {size} ranks",
        )
    return ranks // size


def check_groups(recipe: Recipe, sharding: Sharding, nodes: int, per_node: int) -> None:
    """Refuse groups of ranks that share a sequence and do not fit the nodes. Raises UserError."""
    size = recipe.fsdp.context_parallel
    data_parallel_ranks(recipe, nodes * per_node)
    if max(size, per_node) % min(size, per_node):
        raise UserError(
            f"{FIELD}: {size} does not fit nodes of {per_node} ranks",
            f"take a divisor of {per_node}, or a multiple of it",
        )
    if size > 1 and nodes > 1 and sharding == "hybrid" and size >= per_node:
        raise UserError(
            f"{FIELD}: {size} with hybrid sharding needs more than {size} ranks on a node, and "
            f"there {'is' if per_node == 1 else 'are'} {per_node}: accelerate has no replicas of "
            "a single sequence group",
            "use --sharding full, or a smaller --context-parallel",
        )


def not_tried(recipe: Recipe) -> list[str]:
    """Return in words what a prediction of context parallelism rests on."""
    if recipe.fsdp.context_parallel == 1:
        return []
    return [
        f"{FIELD}: its memory and traffic are counted from PyTorch's code, with none of its "
        "transfers hidden behind compute; hpclaunch has not tried it on a GPU"
    ]


def with_context_parallel(recipe: Recipe, *, own_program: bool = False) -> Recipe:
    """Return the recipe as context parallelism needs it: sdpa, no packing, padded rows.

    Raises UserError for what it cannot be combined with.
    """
    _check_tensor_parallel(recipe)
    size = recipe.fsdp.context_parallel
    if size == 1:
        return recipe
    if own_program:
        raise UserError(
            f"{FIELD}: {size} is for the built-in trainer", "leave it out; the program may set it"
        )
    _check(recipe)
    least = 2 * size
    padding = math.lcm(least, int(recipe.training.get(PADDING) or 1))
    longest = recipe.training.get("max_length")
    if longest is not None and longest % padding:
        raise UserError(
            f"{FIELD}: {size} splits rows into {least} pieces, and training.max_length: {longest} "
            f"is no multiple of {padding}",
            f"set training.max_length={longest // padding * padding or padding}",
        )
    training = {**recipe.training, "packing": False, PADDING: padding}
    return replace(recipe, training=training, model=replace(recipe.model, attention="sdpa"))


def _check(recipe: Recipe) -> None:
    """Refuse what context parallelism cannot be combined with, by name. Raises UserError."""
    fsdp, training = recipe.fsdp, recipe.training
    name = f"{FIELD}: {fsdp.context_parallel}"
    if not recipe.objective_spec.context_parallel:
        split = " and ".join(name for name, spec in OBJECTIVES.items() if spec.context_parallel)
        raise UserError(
            f"{name}: the loss of objective {recipe.objective} needs whole sequences",
            f"leave {FIELD} out; it is for {split}",
        )
    for key in ("packing", "eval_packing", "padding_free"):
        if training.get(key):
            raise UserError(
                f"{name} and training.{key} exclude each other: samples of a packed row are kept "
                "apart by a mask, and ring attention has none",
                f"leave training.{key} out",
            )
    if recipe.model.attention not in ("auto", "sdpa"):
        raise UserError(
            f"{name} computes attention by sdpa alone, and model.attention is "
            f"{recipe.model.attention}",
            "set model.attention: auto",
        )
    if fsdp.engine == "deepspeed" or fsdp.version != 2 or fsdp.sharding == "none":
        raise UserError(
            f"{name} needs FSDP 2, which sums the gradients of a sequence's parts",
            "use --fsdp 2 --sharding full, grad or hybrid",
        )
    for key in switched_on(recipe.performance):
        raise UserError(
            f"{name} with performance.{key} was not tried", f"leave performance.{key} out"
        )
    if training.get("label_smoothing_factor"):
        raise UserError(
            f"{name}: label smoothing shifts labels after the sequence is split, which loses those "
            "at its cuts",
            "leave training.label_smoothing_factor out",
        )


def _check_tensor_parallel(recipe: Recipe) -> None:
    """Refuse tensor parallelism, with what stands in its way. Raises UserError."""
    size = recipe.fsdp.tensor_parallel
    if size == 1:
        return
    if recipe.method.kind != "full":
        reason = "PEFT 0.21 makes adapters of the wrong shape for matrices that are split"
    elif recipe.fsdp.sharding != "none":
        reason = (
            "accelerate 1.15 combines it with FSDP 2 by a class (ReplicateParallel) that "
            "Transformers 5.23 does not have any more"
        )
    else:
        reason = "the built-in trainer cannot save and resume matrices that are split without FSDP"
    raise UserError(
        f"{TENSOR_FIELD}: {size}: {reason}",
        "shard the model by FSDP: leave --tensor-parallel out; for long sequences: "
        "--context-parallel N",
    )


def check_model(recipe: Recipe, config: Mapping[str, Any]) -> None:
    """Refuse a model whose attention a ring does not compute. `config`: its config.json.

    Raises UserError.
    """
    size = recipe.fsdp.context_parallel
    problem = None if size == 1 else _model_problem(config)
    if problem is not None:
        raise UserError(
            f"{FIELD}: {size}: {recipe.model.name} {problem}", f"leave {FIELD} out for this model"
        )


def _model_problem(config: Mapping[str, Any]) -> str | None:
    family = config.get("model_type")
    if family == "gpt_oss":
        return "has attention sinks, which ring attention does not know"
    layers = set(config.get("layer_types") or ()) - {"full_attention"}
    windowed = config.get("use_sliding_window", True) and config.get("sliding_window")
    if layers or (windowed and not config.get("layer_types")):
        return "has sliding windows, which ring attention does not know"
    if config.get("attn_logit_softcapping"):
        return "has soft-capping in its attention, which sdpa does not know"
    if config.get("attention_dropout"):
        return "has dropout in its attention, which each rank would draw for itself"
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        return f"is a {family} model, of which it was not shown to be right (it was of {known})"
    return None


def _in_words(ranks: int) -> str:
    return "one rank" if ranks == 1 else f"{ranks} ranks"
