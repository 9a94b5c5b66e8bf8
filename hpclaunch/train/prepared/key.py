"""The key of prepared rows: everything that bears on them, and nothing of where it lies."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.recipe.schema import Recipe
from hpclaunch.shipped import shipped
from hpclaunch.train.prepared.content import Contents, UnknownContentError

IRRELEVANT = frozenset(
    {"learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
     "per_device_eval_batch_size", "gradient_accumulation_steps", "global_batch",
     "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "max_grad_norm",
     "optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "gradient_checkpointing",
     "gradient_checkpointing_kwargs", "logging_steps", "logging_first_step", "eval_strategy",
     "eval_steps", "ddp_timeout", "dataloader_num_workers", "disable_tqdm", "run_name",
     "dataset_num_proc", "torch_compile", "use_liger_kernel", "neftune_noise_alpha"}
)  # fmt: skip
"""Fields of `training` that do not bear on the rows. What is not listed counts."""
SOURCES = ("chat", "dataset", "recipe", "train")
"""Packages whose code makes the rows: another version makes them anew."""
LIBRARIES = ("transformers", "tokenizers", "trl", "datasets", "torch")


def key_of(recipe: Recipe, contents: Contents) -> str | None:
    """Return the key of a recipe's prepared rows; None where it cannot be told without loading."""
    if not recipe.objective_spec.keeps_prepared_rows:
        return None
    try:
        training = {k: v for k, v in recipe.training.items() if k not in IRRELEVANT}
        template = training.pop("chat_template_path", None)
        parts = {
            "data": _by_content(msgspec.to_builtins(recipe.data), None, contents),
            "objective": recipe.objective,
            "training": training,
            "template": template and _template(str(template), contents),
            "tokenizer": contents.tokenizer(recipe.model.name, recipe.model.revision),
            "versions": versions(),
            "code": code_digest(),
        }
    except (UnknownContentError, OSError, metadata.PackageNotFoundError):
        return None
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def request_digest(recipe: Recipe, device: str) -> str:
    """Return a digest of all that the checks before training look at, beside the rows."""
    parts = [msgspec.to_builtins(recipe), device, versions(), code_digest()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _by_content(value: Any, revision: str | None, contents: Contents) -> Any:
    """Return a data section in which each name of data stands as what it holds."""
    if isinstance(value, list):
        return [_by_content(each, revision, contents) for each in value]
    if not isinstance(value, dict):
        return value
    revision = value.get("revision") or revision
    made = {}
    for key, item in value.items():
        if key in {"name", "validation"} and isinstance(item, str) and item:
            made[key] = contents.data(item, revision)
        else:
            made[key] = _by_content(item, revision, contents)
    return made


def _template(named: str, contents: Contents) -> str:
    path = Path(named)
    return contents.file(path) if path.is_file() else contents.tokenizer(named, None)


@cache
def versions() -> dict[str, str]:
    """Return the versions of what makes the rows. Raises PackageNotFoundError."""
    found = {name: metadata.version(name) for name in LIBRARIES}
    return {**found, "python": f"{sys.version_info.major}.{sys.version_info.minor}"}


@cache
def code_digest() -> str:
    """Return a digest of hpclaunch's own code and data that make the rows. Raises OSError."""
    digest = hashlib.sha256()
    for package in SOURCES:
        folder = shipped(package)
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".py", ".jsonl", ".jinja"}:
                digest.update(str(path.relative_to(folder)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
