"""Decides how a model is loaded, and loads it: in shards where it can be, else whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.loading import whole_because
from hpclaunch.recipe.schema import Recipe
from hpclaunch.train.loading.deferred import deferred
from hpclaunch.train.loading.files import NotDeferredError

PRIVATE = {
    "transformers.modeling_utils.PreTrainedModel._load_pretrained_model": (
        ("model", "state_dict", "checkpoint_files", "load_config")
    ),
    "transformers.core_model_loading.convert_and_load_state_dict_in_model": (
        ("model", "state_dict", "load_config")
    ),
    "transformers.core_model_loading.rename_source_key": (
        (
            "source_key",
            "weight_renamings",
            "weight_converters",
            "base_model_prefix",
            "meta_state_dict",
        )
    ),
    "accelerate.accelerator.fsdp2_prepare_model": ("accelerator", "model"),
    "accelerate.utils.fsdp_utils.fsdp2_load_full_state_dict": (
        ("accelerator", "model", "full_sd", "cpu_offload")
    ),
}
"""Functions that sharded loading replaces or calls, and their first parameters: they are no part of
their libraries' interface, and may change."""


def load(
    recipe: Recipe,
    config: Any,
    vocab_size: int,
    fsdp_version: int,
    from_pretrained: Callable[[], Any],
) -> tuple[Any, str | None]:
    """Return what `from_pretrained` returns, and why it was loaded whole; None: it is deferred.

    `config`: the model's own; `vocab_size`: tokens that need a row of the embedding;
    `fsdp_version`: 0 without FSDP. Raises UserError where fsdp.loading=sharded cannot be.
    """
    import torch

    reason = _whole_because(recipe, config, vocab_size, fsdp_version)
    state = torch.get_rng_state()
    if reason is None:
        try:
            with deferred(keep=recipe.method.quantization.keep):
                return from_pretrained(), None
        except NotDeferredError as error:
            reason = str(error)
        finally:
            torch.set_rng_state(state)
    if recipe.fsdp.loading == "sharded":
        raise UserError(
            f"fsdp.loading=sharded: {reason}", "set fsdp.loading=auto, which then loads it whole"
        )
    try:
        return from_pretrained(), reason
    finally:
        # Weights that files lack draw numbers here, and none on meta: what follows draws the same.
        torch.set_rng_state(state)


def _whole_because(recipe: Recipe, config: Any, vocab_size: int, fsdp_version: int) -> str | None:
    reason = whole_because(recipe)
    if reason is not None:
        return reason
    if fsdp_version != 2:
        return "one process does not shard" if not fsdp_version else "FSDP 1 shards what is loaded"
    if getattr(config, "quantization_config", None) is not None:
        return "its files are quantized already"
    rows = config.get_text_config(decoder=True).vocab_size
    if vocab_size > rows:
        return f"the embedding gets {vocab_size - rows} new rows"
    return missing_function()


def missing_function() -> str | None:
    """Return which private function is not as sharded loading needs it; None: all are."""
    for path, wanted in PRIVATE.items():
        function = _resolve(path)
        if function is None or tuple(inspect.signature(function).parameters)[: len(wanted)] != (
            wanted
        ):
            return f"the installed {path.partition('.')[0]} has another {path.rpartition('.')[2]}"
    return None


def _resolve(path: str) -> Any:
    import importlib

    parts = path.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for name in parts[split:]:
            found = getattr(found, name, None)
        return found
    return None
