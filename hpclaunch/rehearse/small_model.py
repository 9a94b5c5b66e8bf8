"""From a recipe to the one that is rehearsed: small, and otherwise the same. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from hpclaunch.recipe.best import best_by_loss
from hpclaunch.recipe.groups import completion_tokens
from hpclaunch.recipe.levers import LEVERS, switched_on
from hpclaunch.recipe.parallel import PADDING
from hpclaunch.recipe.reporting import Evaluate, Notify, Tracking
from hpclaunch.recipe.schema import Method, Recipe
from hpclaunch.recipe.tracking import TITLES, trackers
from hpclaunch.recipe.training import PLAIN_OPTIMIZERS

STEPS = 6
SAMPLES = 64
RANKS = 2
"""That share a sequence, at most: a rehearsal has that many by default."""
TOKENS = 1024
"""Of a sample, at most: over a large vocabulary a CPU is slow."""

COMPLETION = 32
"""Tokens of a completion, at most: each is a forward pass."""

OPTIMIZER = "adamw_torch"
"""Stands for optimizers that live on a GPU."""

ALWAYS = ("the real weights", "memory and speed", "collectives between GPUs")
"""What no rehearsal in small can show."""


def small(recipe: Recipe, model: Path, device: Literal["cpu", "gpu"]) -> tuple[Recipe, list[str]]:
    """Return the recipe to rehearse and what is left out of it, in words.

    `model` is the folder of the small model. The method, LoRA's layers, data, template, sharding
    and every other field of the training stay as they are.
    """
    training = dict(recipe.training)
    training.pop("global_batch", None)  # of many ranks
    missing = list(ALWAYS)
    training |= {
        "max_steps": STEPS,
        "logging_steps": 1,
        "max_length": _at_most(training.get("max_length"), TOKENS),
        "per_device_train_batch_size": _at_most(training.get("per_device_train_batch_size"), 2),
        "per_device_eval_batch_size": _at_most(training.get("per_device_eval_batch_size"), 2),
        "gradient_accumulation_steps": _at_most(training.get("gradient_accumulation_steps"), 2),
    }
    method = _small_groups(recipe, training, missing)
    if training.get("eval_strategy") == "steps":
        training["eval_steps"] = STEPS // 2
    changed: dict[str, Any] = {"attention": recipe.model.attention}
    offload, performance = recipe.fsdp.offload, recipe.performance
    context = min(recipe.fsdp.context_parallel, RANKS)
    if context > 1:
        training.pop(PADDING, None)  # follows from the ranks that share a sequence
    if context < recipe.fsdp.context_parallel:
        missing.append(f"sequences over {recipe.fsdp.context_parallel} ranks ({context} here)")
    if device == "cpu":
        switches = switched_on(performance)
        missing += [LEVERS[key].words for key in switches]
        performance = msgspec.structs.replace(performance, **dict.fromkeys(switches, False))
        if recipe.model.attention.startswith(("flash", "flex")):
            changed["attention"] = "auto"
            missing.append(f"{recipe.model.attention}'s kernel")
        if str(training.get("optim", OPTIMIZER)) not in PLAIN_OPTIMIZERS:
            missing.append(f"the optimizer {training['optim']}")
            training["optim"] = OPTIMIZER
        for key, what in (("torch_compile", "torch.compile"), ("use_liger_kernel", "Liger")):
            if training.pop(key, None):
                missing.append(what)
        if offload:
            offload = False
            missing.append("offload")
    for name in trackers(recipe):
        if name in TITLES:  # others would see it
            missing.append(TITLES[name])
    if recipe.checkpoints.sync_to:
        missing.append("the copy to checkpoints.sync_to")
    data = recipe.data
    replace = msgspec.structs.replace
    return replace(
        recipe,
        name=f"{recipe.name}-rehearsal",
        method=method,
        model=replace(recipe.model, name=str(model), revision=None, gated=False, **changed),
        data=replace(
            data,
            limit=None if data.sources else _at_most(data.limit, SAMPLES),
            sources=[
                replace(source, limit=_at_most(source.limit, SAMPLES)) for source in data.sources
            ],
            validation_split=_first(data.validation_split, SAMPLES // 4),
        ),
        fsdp=replace(recipe.fsdp, offload=offload, context_parallel=context),
        training=training,
        performance=performance,
        follows_global_batch=[],
        checkpoints=replace(
            recipe.checkpoints,
            every_steps=2,
            sync_to=None,
            best=recipe.checkpoints.best if best_by_loss(recipe) else None,
        ),
        tracking=Tracking(tensorboard=recipe.tracking.tensorboard),
        notify=Notify(),
        evaluate=Evaluate(),
    ), missing


def _small_groups(recipe: Recipe, training: dict[str, Any], missing: list[str]) -> Method:
    """Make GRPO's groups two short completions; return the method that has the ranks write them."""
    if not recipe.objective_spec.writes_completions:
        return recipe.method
    del training["max_length"]
    for key in ("steps_per_generation", "generation_batch_size", "num_generations_eval"):
        training.pop(key, None)
    for key in ("per_device_train_batch_size", "per_device_eval_batch_size", "num_generations"):
        training[key] = 2
    training["max_completion_length"] = min(completion_tokens(recipe), COMPLETION)
    if not recipe.method.grpo.server.enabled:
        return recipe.method
    missing.append("the vLLM server: the ranks write the completions")
    replace = msgspec.structs.replace
    server = replace(recipe.method.grpo.server, enabled=False)
    return replace(recipe.method, grpo=replace(recipe.method.grpo, server=server))


def _at_most(value: Any, most: int) -> int:
    """Return a count that a recipe may leave unsaid, in small."""
    return min(value, most) if isinstance(value, int) and value > 0 else most


def _first(split: str | None, rows: int) -> str | None:
    """Return the first rows of a split, of one that is not cut already."""
    return split if split is None or "[" in split else f"{split}[:{rows}]"
