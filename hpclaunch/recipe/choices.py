"""Values of `training` fields that are one of a few words, as Transformers and TRL have them.

`field_choices.json` is made from the installed Transformers by hpclaunch/train/config_fields.py.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hpclaunch.shipped import shipped

IN_THEIR_CODE: dict[str, tuple[str, ...]] = {
    "f_divergence_type": ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"),
    "importance_sampling_level": ("token", "sequence"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "scale_rewards": ("group", "batch", "none"),
    "vllm_importance_sampling_mode": (
        "token_truncate", "token_mask", "sequence_truncate", "sequence_mask",
    ),
    "include_num_input_tokens_seen": ("all", "non_padding", "no"),
    "include_for_metrics": ("inputs", "loss"),
    "pad_to_multiple_of": ("auto",),
    "cache_implementation": ("static", "offloaded_static", "dynamic", "offloaded", "quantized"),
    "torch_compile_mode": (
        "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs",
    ),
}  # fmt: skip
"""Fields whose configs declare any text, while the trainers' code takes these words. For
`loss_type` see `losses` in objectives.py."""

OPEN = {
    "accelerator_config", "activation_checkpointing_kwargs", "chat_template_kwargs",
    "chat_template_path", "dataset_kwargs", "dataset_text_field", "eos_token", "generation_kwargs",
    "gradient_checkpointing_kwargs", "hub_model_id", "hub_revision", "label_names",
    "length_column_name", "lr_scheduler_kwargs", "optim_args", "optim_target_modules", "pad_token",
    "project", "run_name", "torch_compile_backend", "trackio_bucket_id", "trackio_space_id",
    "trackio_static_space_id", "vllm_structured_outputs_regex",
}  # fmt: skip
"""Fields that take any text: names, paths, further settings, what a plug-in may add to."""


@cache
def field_choices() -> dict[str, list[str]]:
    """Return the words that each field takes which takes no other text."""
    named: dict[str, list[str]] = json.loads(shipped("recipe", "field_choices.json").read_bytes())
    return {**named, **{field: list(words) for field, words in IN_THEIR_CODE.items()}}


def wrong_word(field: str, value: Any) -> tuple[str, list[str]] | None:
    """Return the first text of a value that its field does not take, and those that it takes.

    None where it takes all. Numbers, and true and false, are no texts: whether a field takes those
    is its type's matter.
    """
    words = field_choices().get(field)
    if words is None:
        return None
    if field == "debug" and isinstance(value, str):
        value = value.split()
    texts = value if isinstance(value, list) else [value]
    wrong = next((each for each in texts if isinstance(each, str) and each not in words), None)
    return None if wrong is None else (wrong, words)
