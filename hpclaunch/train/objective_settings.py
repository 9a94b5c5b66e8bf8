"""What an objective's TRL config gets beside what those of all objectives share.

Each takes the recipe, its `training` section so far, whether the rows are conversations and whether
samples share rows, and returns fields.
"""

from __future__ import annotations

import os
from typing import Any

from hpclaunch.recipe.schema import Recipe

WHOLE_TEXTS = "bfd_split"
"""Packing that cuts long texts into rows and loses nothing of them; texts do not see each other."""


def no_settings(
    recipe: Recipe, training: dict[str, Any], *, conversations: bool, packing: bool
) -> dict[str, Any]:
    """Return no fields: the config needs none."""
    return {}


def sft_settings(
    recipe: Recipe, training: dict[str, Any], *, conversations: bool, packing: bool
) -> dict[str, Any]:
    """Return the SFTConfig fields that depend on the data and the model."""
    fields: dict[str, Any] = {"packing": packing}
    if packing:  # the rows of a batch become one row, whose mask grows with its square
        rows = training["per_device_train_batch_size"]
        fields["per_device_eval_batch_size"] = training.get("per_device_eval_batch_size", rows)
    if recipe.objective_spec.learns_every_token:
        if packing:
            fields["packing_strategy"] = training.get("packing_strategy", WHOLE_TEXTS)
    elif conversations:
        fields["assistant_only_loss"] = training.get("assistant_only_loss", True)
    return fields


def grpo_settings(
    recipe: Recipe, training: dict[str, Any], *, conversations: bool, packing: bool
) -> dict[str, Any]:
    """Return the address of the server that writes completions, where launch.sh started one."""
    host, port = (os.environ.get(f"HPCLAUNCH_SERVER{each}") for each in ("", "_PORT"))
    if not (host and port):
        return {}
    return {
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_server_host": host,
        "vllm_server_port": int(port),
        "vllm_group_port": int(port) + 1,
    }
