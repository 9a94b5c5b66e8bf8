"""The `training` section: any field of an objective's TRL config, checked without torch."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hpclaunch.document import Document
from hpclaunch.errors import UserError, nearest
from hpclaunch.recipe.choices import wrong_word
from hpclaunch.recipe.objective_fields import TEMPLATE_FIELDS, check_field, check_micro_batch
from hpclaunch.recipe.objectives import DEFAULT_OBJECTIVE, OBJECTIVES, MethodKind, Objective
from hpclaunch.recipe.ranges import out_of_range
from hpclaunch.shipped import shipped

OWNED: dict[str, str] = {
    "output_dir": "the run folder is the output folder; choose it with --runs-dir and --name",
    "fsdp": "set it in the recipe's fsdp section",
    "fsdp_config": "set it in the recipe's fsdp section",
    "deepspeed": "set fsdp.engine: deepspeed",
    "parallelism_config": "set fsdp.sharding: hybrid",
    "local_rank": "the launcher sets each rank's own",
    "use_cpu": "use --cpu-processes",
    "resume_from_checkpoint": "the launcher finds the newest whole checkpoint",
    "report_to": "set it in the recipe's tracking section",
    "logging_dir": "it is the run folder's metrics",
    "save_strategy": "set checkpoints.every_steps",
    "save_steps": "set checkpoints.every_steps",
    "save_total_limit": "set checkpoints.keep",
    "save_only_model": "sharded checkpoints always hold the optimizer's state",
    "hub_token": "a token belongs in no file of a run; log in with 'hf auth login'",
    "bf16": "set model.dtype",
    "fp16": "set model.dtype",
    "activation_checkpointing": "set training.gradient_checkpointing",
    "trust_remote_code": "hpclaunch runs no code from a model's repository",
    "model_init_kwargs": "set model.dtype, model.attention, model.revision",
    "load_best_model_at_end": "set checkpoints.best: eval_loss",
    "metric_for_best_model": "set checkpoints.best: eval_loss",
    "greater_is_better": "set checkpoints.best: eval_loss",
    "push_to_hub": "compute nodes work offline: upload RUN/final afterwards by 'hf upload'",
    "do_train": "hpclaunch always trains",
}
"""Fields that hpclaunch sets, each with what the user sets instead."""

DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 8,
    "num_train_epochs": 1,
    "max_length": 2048,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.03,
    "max_grad_norm": 1.0,
    "optim": "adamw_torch_fused",
    "gradient_checkpointing": True,
    "logging_steps": 1,
    "seed": 42,
}
"""Defaults of a fine-tune, of any objective; a recipe's own values win. The only place that has
them: everything else reads the resolved recipe."""

PLAIN_OPTIMIZERS = {"adafactor", "adagrad", "adamw_torch", "adamw_torch_fused", "rmsprop", "sgd"}
"""Values of `training.optim` for which Transformers takes an optimizer of its own or of PyTorch:
they need no other library, and run on any device."""

PROGRAM_DEFAULTS: dict[str, Any] = {"gradient_checkpointing": False}
"""Over DEFAULTS for a program of the user's own: FSDP's activation checkpointing and the program's
own exclude each other, so it is on only when asked for."""


@cache
def config_fields(objective: Objective = DEFAULT_OBJECTIVE) -> dict[str, list[str]]:
    """Return the fields that a recipe of an objective may name and the YAML types each takes.

    These are the fields of its TRL config, and TEMPLATE_FIELDS.
    """
    text = shipped("recipe", OBJECTIVES[objective].fields_file).read_text("utf-8")
    fields: dict[str, list[str]] = json.loads(text)
    return {**fields, **TEMPLATE_FIELDS}


OWN_FIELDS = {"global_batch": ["int", "null"]}
"""Fields that no config of TRL has, and the YAML types of each."""


def check_training(document: Document) -> None:
    """Refuse unknown, owned and wrongly typed keys under `training`. Raises UserError."""
    section = document.data.get("training") or {}
    if not isinstance(section, dict):
        return  # the schema says so, with its place
    method = document.data.get("method")
    named = method.get("objective") if isinstance(method, dict) else None
    objective: Objective = DEFAULT_OBJECTIVE if named is None else named
    if objective not in OBJECTIVES:
        return  # the schema says so
    fields = config_fields(objective) | OWN_FIELDS
    for key, value in section.items():
        where = document.where(("training", key))
        if key in OWNED:
            raise UserError(f"{where}: training.{key} is not yours to set", OWNED[key])
        if key not in fields:
            raise _unknown_key(where, key, objective, fields)
        if key == "optim" and str(value).startswith("paged_"):
            raise UserError(
                f"{where}: training.optim: {value} cannot be saved in a sharded checkpoint",
                "use adamw_torch_fused, or adamw_8bit",
            )
        if not _fits(value, fields[key]):
            kinds = " or ".join(fields[key])
            raise UserError(f"{where}: training.{key}: expected {kinds}, got {value!r}")
        wrong = wrong_word(key, value)
        if wrong:
            raise UserError(f"{where}: training.{key}: {wrong[0]!r} cannot be", nearest(*wrong))
        allowed = out_of_range(key, value)
        if allowed:
            raise UserError(f"{where}: training.{key}: {value!r} cannot be", f"{allowed}")
        check_field(where, key, value, objective)
    check_micro_batch(document, section, objective)


def _unknown_key(
    where: str, key: str, objective: Objective, fields: dict[str, list[str]]
) -> UserError:
    """Return the error of a key that is no field of the objective's config."""
    spec = OBJECTIVES[objective]
    if key in spec.has_no:
        has, fix = spec.has_no[key]
        return UserError(
            f"{where}: objective {objective} has {has} in place of training.{key}", fix
        )
    others = [each for each in OBJECTIVES if key in config_fields(each)]
    if others:
        return UserError(
            f"{where}: training.{key} is a field of TRL's {OBJECTIVES[others[0]].config}, and "
            f"objective {objective} has TRL's {spec.config}",
            "take it out, or set method.objective to the one it belongs to",
        )
    hint = nearest(key, fields.keys() - OWNED.keys())
    if hint.startswith("valid"):
        hint = f"any field of TRL's {spec.config} or Transformers' TrainingArguments"
    return UserError(f"{where}: unknown key 'training.{key}'", hint)


def _fits(value: Any, kinds: list[str]) -> bool:
    """Return whether a YAML value is of one of the kinds; a whole number may stand for a float."""
    if value is None:
        return "null" in kinds
    if isinstance(value, bool):
        return "bool" in kinds
    if isinstance(value, int):
        return "int" in kinds or "float" in kinds
    return type(value).__name__ in kinds


def with_defaults(
    training: dict[str, Any],
    objective: Objective,
    method: MethodKind,
    *,
    own_program: bool = False,
) -> dict[str, Any]:
    """Return the section with hpclaunch's defaults; the user's own values win."""
    spec = OBJECTIVES[objective]
    defaults = {**DEFAULTS, **spec.defaults, "learning_rate": spec.learning_rate[method]}
    for key in spec.has_no:
        del defaults[key]
    return {**defaults, **(PROGRAM_DEFAULTS if own_program else {}), **training}
