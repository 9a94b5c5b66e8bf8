"""From a recipe to TRL's training arguments: the user's own, defaults, and what hpclaunch sets."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.reporting import Mlflow
from hpclaunch.recipe.schema import Recipe
from hpclaunch.recipe.tracking import check_trackers
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.distributed import LONG_TIMEOUT, DistContext
from hpclaunch.train.objectives import TRAINERS, config_class

_SYNC_EACH_BATCH = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
"""Gradients are reduce-scattered after every micro-batch. Otherwise every rank keeps those of the
whole model until the last one, in 16 bits: 16 GB for an 8B model, and sums that are rounded. An
adapter's are small, and wait."""


def check_tracking(recipe: Recipe) -> None:
    """Refuse tracking whose package is not installed. Raises UserError."""
    check_trackers(recipe, lambda name: importlib.util.find_spec(name) is None, "python")


def set_up_trackers(recipe: Recipe, run: RunFolder) -> list[str]:
    """Have the trackers write into the run folder; return their names for `report_to`."""
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
    names += _set_up_mlflow(recipe.tracking.mlflow, run)
    if recipe.tracking.trackio.enabled:
        os.environ["TRACKIO_DIR"] = str(run.metrics / "trackio")
        names.append("trackio")
    return names


def _set_up_mlflow(mlflow: Mlflow, run: RunFolder) -> list[str]:
    """Have MLflow write to its server, or into the run folder; return its name for `report_to`."""
    if not mlflow.enabled:
        return []
    if mlflow.uri:
        os.environ["MLFLOW_TRACKING_URI"] = mlflow.uri
    elif "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ["MLFLOW_TRACKING_URI"] = (run.metrics / "mlruns").absolute().as_uri()
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # newer ones ask for a database instead
    if mlflow.experiment:
        os.environ["MLFLOW_EXPERIMENT_NAME"] = mlflow.experiment
    return ["mlflow"]


def _of_levers(recipe: Recipe, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that switches of the `performance` section stand for."""
    performance = recipe.performance
    made: dict[str, Any] = {}
    if performance.liger:
        made["use_liger_kernel"] = True
    if performance.activation_offloading:
        made["activation_offloading"] = True
    if performance.every_n_layers > 1:
        options = fields.get("gradient_checkpointing_kwargs") or {}
        made["gradient_checkpointing_kwargs"] = {
            **options,
            "every_n_layers": performance.every_n_layers,
        }
    return made


def training_arguments(
    recipe: Recipe,
    run: RunFolder,
    context: DistContext,
    *,
    conversations: bool,
    has_eval_set: bool,
    packing: bool,
) -> Any:
    """Return TRL's config of the recipe's objective (SFTConfig for sft) for a rank.

    `conversations`: rows are whole conversations, so the loss counts the assistant's turns alone
    unless the recipe says otherwise. `packing`: samples share rows. Raises UserError for values
    that TRL or Transformers refuse.
    """
    fields = dict(recipe.training)
    config = config_class(recipe.objective)
    fields.pop("chat_template_path", None)  # the tokenizer has it already
    fields.pop("global_batch", None)  # batch and accumulation follow from it
    if "eos_token" not in config.__dataclass_fields__:
        fields.pop("eos_token", None)  # likewise
    of_objective = TRAINERS[recipe.objective].settings
    fields.update(of_objective(recipe, fields, conversations=conversations, packing=packing))
    fields.update(_of_levers(recipe, fields))
    fields.setdefault("ddp_timeout", LONG_TIMEOUT)
    fields.setdefault("disable_tqdm", True)
    fields.setdefault("logging_first_step", True)  # stop.py logs the last one
    fields.setdefault("run_name", run.root.name)
    if recipe.tracking.trackio.enabled:
        fields.setdefault("project", recipe.tracking.trackio.project or recipe.name)
        fields.setdefault("trackio_space_id", recipe.tracking.trackio.space)
    if recipe.method.kind == "full" and context.fsdp_version:
        fields.setdefault("accelerator_config", _SYNC_EACH_BATCH)
    if has_eval_set:
        fields.setdefault("eval_strategy", "epoch")
    else:
        fields["eval_strategy"] = "no"
    save_steps = recipe.checkpoints.every_steps
    bf16 = recipe.model.dtype == "bfloat16" and not recipe.performance.fp8
    # use_cpu would leave DeepSpeed out, and without it Transformers takes no bf16 on CPUs.
    zero_on_cpu = context.device == "cpu" and context.zero_stage > 0
    if zero_on_cpu:
        fields["ddp_backend"] = "gloo"
    owned = {
        "output_dir": str(run.checkpoints),
        "save_strategy": "steps" if save_steps else "no",
        "save_steps": save_steps or 1,
        "report_to": set_up_trackers(recipe, run),
        "use_cpu": context.device == "cpu" and not zero_on_cpu,
        # Set, it would win over the FP8 of the accelerate config.
        "bf16": bf16 and not zero_on_cpu,
        "fp16": recipe.model.dtype == "float16",
        "do_train": True,
        "trust_remote_code": False,
    }
    try:
        arguments = config(**{**fields, **owned})
        arguments.bf16 = bf16
        return arguments
    except (ValueError, TypeError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"recipe section training is refused: {text}") from error
