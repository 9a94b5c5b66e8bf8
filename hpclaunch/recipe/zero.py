"""`fsdp.engine: deepspeed` with the built-in trainer: what it changes in a recipe, and refuses.

What was not seen to train, save and resume right under DeepSpeed's ZeRO is refused by name, before
anything is submitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from hpclaunch.errors import UserError
from hpclaunch.recipe.levers import switched_on
from hpclaunch.recipe.loading import OWN_VALUES, adds_tokens
from hpclaunch.recipe.objectives import OBJECTIVES
from hpclaunch.recipe.schema import Recipe

NAME = "--engine deepspeed"
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")
"""Those whose state is written and read: two moments of each element, and a count of steps."""

Problem = tuple[bool, str, str]
"""Whether it holds, what cannot be combined, and the fix."""


def under_deepspeed(recipe: Recipe) -> bool:
    """Return whether DeepSpeed's ZeRO shards the model of a recipe."""
    return recipe.fsdp.engine == "deepspeed"


def with_zero(recipe: Recipe) -> Recipe:
    """Return a recipe of the built-in trainer as ZeRO needs it: without fused LoRA layers.

    They read weights that ZeRO-3 gathers only for modules that are called one by one. Raises
    UserError for what it cannot be combined with.
    """
    if not under_deepspeed(recipe):
        return recipe
    for holds, problem, fix in _problems(recipe):
        if holds:
            raise UserError(f"{NAME} {problem}", fix)
    return replace(recipe, performance=replace(recipe.performance, fused_lora=False))


def _problems(recipe: Recipe) -> Iterator[Problem]:
    fsdp, performance, training = recipe.fsdp, recipe.performance, recipe.training
    leave_out = "leave it out, or " + NAME
    kind, methods = recipe.method.kind, recipe.objective_spec.deepspeed
    tried = ", ".join(
        f"{name} ({' and '.join(spec.deepspeed)})"
        for name, spec in OBJECTIVES.items()
        if spec.deepspeed
    )
    yield (
        not methods or kind not in {*methods, "qlora"},
        f"with objective {recipe.objective}, method {kind}, was not tried; it was with {tried}",
        f"leave {NAME} out",
    )
    yield (
        kind == "qlora",
        "with method qlora: ZeRO does not cut 4-bit weights as bitsandbytes reads them",
        f"use --method lora, or leave {NAME} out: FSDP shards 4-bit weights",
    )
    yield (
        recipe.model.dtype == "float16",
        "with model.dtype float16: checkpoints do not hold DeepSpeed's loss scale",
        "set model.dtype=bfloat16",
    )
    yield (
        fsdp.offload,
        "with --offload and the built-in trainer: its optimizer on the CPU was not tried",
        f"leave --offload out, or {NAME}: FSDP offloads, too",
    )
    yield (
        fsdp.state_dict == "full",
        "with fsdp.state_dict: full: each rank writes the pieces that it holds",
        "leave fsdp.state_dict out; the final weights are whole in any case",
    )
    yield (
        recipe.checkpoints.asynchronous,
        "with checkpoints.asynchronous: it writes checkpoints while training waits",
        "leave checkpoints.asynchronous out",
    )
    optimizer = str(training.get("optim", OPTIMIZERS[-1]))
    yield (
        optimizer not in OPTIMIZERS,
        f"with training.optim={optimizer}: checkpoints hold the state of AdamW alone",
        f"set training.optim={OPTIMIZERS[-1]}",
    )
    levers = [f"performance.{key}" for key in switched_on(performance)]
    levers += ["performance.every_n_layers"] if performance.every_n_layers > 1 else []
    levers += [
        f"training.{key}"
        for key in (
            *("torch_compile", "use_liger_kernel", "activation_offloading"),
            "precompute_ref_log_probs",
        )
        if training.get(key)
    ]
    if performance.activation_checkpointing == "mlp":
        levers.append("performance.activation_checkpointing: mlp")
    for lever in levers:
        yield True, f"with {lever} was not tried", f"leave {lever.partition(':')[0]} out"
    yield from _of_adapters(recipe, leave_out)


def _of_adapters(recipe: Recipe, leave_out: str) -> Iterator[Problem]:
    lora = recipe.method.lora
    yield (
        adds_tokens(recipe),
        "with new tokens (data.special_tokens, training.chat_template_path) was not tried",
        leave_out,
    )
    if recipe.method.kind == "full":
        return
    for name, value in (
        ("modules_to_save", lora.modules_to_save),
        ("use_dora", lora.use_dora),
        ("target_parameters", lora.target_parameters),
        ("trainable_token_indices", lora.trainable_token_indices),
        ("lora_bias", lora.lora_bias),
        ("init_lora_weights", lora.init_lora_weights not in OWN_VALUES),
    ):
        yield bool(value), f"with method.lora.{name} was not tried", leave_out


def check_zero_model(recipe: Recipe, config: Mapping[str, Any]) -> None:
    """Refuse a model that was not tried under ZeRO. `config`: its config.json. Raises UserError."""
    if not under_deepspeed(recipe):
        return
    text = config.get("text_config") or config
    experts = ("num_local_experts", "num_experts", "n_routed_experts")
    what = "a mixture of experts" if any(text.get(key) for key in experts) else None
    what = "a model with a vision tower" if config.get("vision_config") else what
    if what is not None:
        raise UserError(
            f"{NAME}: {recipe.model.name} is {what}, which was not tried with it",
            f"leave {NAME} out",
        )


def unknown_under_zero(recipe: Recipe) -> list[str]:
    """Return in words what a prediction of ZeRO rests on."""
    if not under_deepspeed(recipe):
        return []
    return [
        f"{NAME}: memory is counted from DeepSpeed's defaults, step times are FSDP's, which moves "
        "the same bytes; neither was measured on a GPU"
    ]
