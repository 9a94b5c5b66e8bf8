"""From a recipe to TRL's arguments: the user's own fields, and those that are not theirs to set."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.distributed import DistContext

LONG_TIMEOUT = 7200
"""Seconds that ranks wait for each other while a large model is loaded or saved."""

FLASH_PACKAGES = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
"""What each FlashAttention needs installed."""


_SHARED_OUT = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
"""Gradients are shared out after every micro-batch. Otherwise every rank keeps the gradients of the
whole model until the last one, in 16 bits: 16 GB of an 8B, and as much for a sum that rounds. An
adapter's are small, and wait."""


def attention(wanted: str, device: str) -> str:
    """Return the attention kernel for `model.attention`; auto takes FlashAttention where it runs.

    Raises UserError where a FlashAttention is asked for that is not installed, or has no GPU.
    """
    if wanted == "auto":
        flash = device == "cuda" and importlib.util.find_spec("flash_attn") is not None
        return "flash_attention_2" if flash else "sdpa"
    package = FLASH_PACKAGES.get(wanted)
    if package and device != "cuda":
        raise UserError(f"model.attention: {wanted} needs a GPU", "set model.attention: auto")
    if package and importlib.util.find_spec(package) is None:
        raise UserError(
            f"model.attention: {wanted} needs the package {package}, which is not installed",
            "set model.attention: auto, or install it in the job's environment",
        )
    return wanted


def packing(training: dict[str, Any], kernel: str) -> bool:
    """Return whether samples are packed: where unsaid, only with FlashAttention.

    Any other kernel lets packed samples look into each other, so asking for it raises UserError.
    """
    flash = kernel.startswith("flash_attention")
    asked = training.get("packing")
    if asked and not flash:
        raise UserError(
            f"training.packing with the {kernel} kernel would let samples see each other",
            "leave training.packing out (it is on where FlashAttention is), or set it to false",
        )
    return flash if asked is None else bool(asked)


def check_tracking(recipe: Recipe) -> None:
    """Refuse tracking whose package is not installed. Raises UserError."""
    for asked, package in (
        (recipe.tracking.tensorboard, "tensorboard"),
        (recipe.tracking.wandb.enabled, "wandb"),
    ):
        if asked and importlib.util.find_spec(package) is None:
            key = f"tracking.{package}" + (".enabled" if package == "wandb" else "")
            raise UserError(
                f"{key} is on, but the package {package} is not installed",
                f"install it in the job's environment, or set {key}: false",
            )


def point_trackers(recipe: Recipe, run: RunFolder) -> list[str]:
    """Tell the trackers, by their variables, to write into the run folder; give their names."""
    check_tracking(recipe)
    names = []
    if recipe.tracking.tensorboard:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(run.metrics / "tensorboard")
        names.append("tensorboard")
    wandb = recipe.tracking.wandb
    if wandb.enabled:
        run.metrics.mkdir(parents=True, exist_ok=True)
        os.environ["WANDB_DIR"] = str(run.metrics)
        os.environ["WANDB_MODE"] = wandb.mode
        os.environ["WANDB_SILENT"] = "true"
        if wandb.project:
            os.environ["WANDB_PROJECT"] = wandb.project
        if wandb.entity:
            os.environ["WANDB_ENTITY"] = wandb.entity
        names.append("wandb")
    return names


def sft_config(
    recipe: Recipe,
    run: RunFolder,
    world: DistContext,
    *,
    messages: bool,
    validating: bool,
    kernel: str,
) -> Any:
    """Return TRL's SFTConfig for a rank.

    `messages`: rows are whole conversations, so the loss falls on the assistant's turns unless the
    recipe says otherwise. `validating`: there is an eval set. Raises UserError for values that
    TRL or Transformers refuse.
    """
    from trl import SFTConfig

    given = dict(recipe.training)
    if Path(given.get("chat_template_path") or "").is_file():
        del given["chat_template_path"]  # the tokenizer has it already
    given["packing"] = packing(given, kernel)
    given.setdefault("ddp_timeout", LONG_TIMEOUT)
    given.setdefault("disable_tqdm", True)
    given.setdefault("logging_first_step", True)  # the last one is seen to in stop.py
    given.setdefault("run_name", run.root.name)
    if recipe.method.kind == "full" and world.fsdp:
        given.setdefault("accelerator_config", _SHARED_OUT)
    if messages:
        given.setdefault("assistant_only_loss", True)
    if validating:
        given.setdefault("eval_strategy", "epoch")
    else:
        given["eval_strategy"] = "no"
    every = recipe.checkpoints.every_steps
    owned = {
        "output_dir": str(run.checkpoints),
        "save_strategy": "steps" if every else "no",
        "save_steps": every or 1,
        "report_to": point_trackers(recipe, run),
        "use_cpu": world.device == "cpu",
        "bf16": recipe.model.dtype == "bfloat16",
        "fp16": recipe.model.dtype == "float16",
        "do_train": True,
        "trust_remote_code": False,
    }
    try:
        return SFTConfig(**{**given, **owned})
    except (ValueError, TypeError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"recipe section training is refused: {text}") from error
