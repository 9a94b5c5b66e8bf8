"""How a recipe's weights are loaded: each rank its own shard, or every rank the whole model."""

from __future__ import annotations

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Recipe, Sharding

OWN_VALUES = (True, False, "gaussian")
"""Values of `init_lora_weights` whose adapters start without a look at the base weights."""


def whole_because(recipe: Recipe, sharding: Sharding | None = None) -> str | None:
    """Return why every rank of a recipe loads the whole model; None: each reads its own shard.

    What the model's files and tokens make necessary is not known here. `sharding`: in place of the
    recipe's own.
    """
    fsdp, lora, objective = recipe.fsdp, recipe.method.lora, recipe.objective_spec
    adapter = recipe.method.kind != "full"
    reasons = (
        (fsdp.engine == "deepspeed", "DeepSpeed shards what Transformers loads"),
        (fsdp.loading == "whole", "fsdp.loading is whole"),
        ((sharding or fsdp.sharding) == "none", "fsdp.sharding is none"),
        (fsdp.version != 2, "FSDP 1 shards what is loaded"),
        (not fsdp.cpu_ram_efficient_loading, "fsdp.cpu_ram_efficient_loading is off"),
        (
            not objective.loads_shards,
            f"objective {recipe.objective} was not tried with shards",
        ),
        (
            objective.reference == "by_beta" and not adapter and bool(recipe.training.get("beta")),
            "training.beta compares with a second copy of the model",
        ),
        (recipe.performance.fp8, "performance.fp8 was not tried with shards"),
        (recipe.performance.liger, "performance.liger was not tried with shards"),
        (adapter and lora.use_dora, "method.lora.use_dora starts from the base weights"),
        (
            adapter and lora.init_lora_weights not in OWN_VALUES,
            f"method.lora.init_lora_weights={lora.init_lora_weights} reads the base weights",
        ),
        (
            adapter and lora.target_parameters is not None,
            "method.lora.target_parameters wraps parameters, not layers",
        ),
    )
    return next((reason for holds, reason in reasons if holds), None)


def adds_tokens(recipe: Recipe) -> bool:
    """Return whether a recipe names tokens that may need new rows, with which loading is whole."""
    return bool(recipe.data.special_tokens or recipe.training.get("chat_template_path"))


def check_loading(recipe: Recipe) -> None:
    """Refuse sharded loading that was asked for and cannot be. Raises UserError."""
    reason = whole_because(recipe)
    if recipe.fsdp.loading == "sharded" and reason is not None:
        raise UserError(
            f"fsdp.loading=sharded: {reason}", "set fsdp.loading=auto, which then loads it whole"
        )
