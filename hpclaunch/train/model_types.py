"""Write which models the trainer can load, and their configs' defaults, for plans without torch.

`python -m hpclaunch.train.model_types > hpclaunch/predict/model_types.json`; a test keeps it equal.
"""

from __future__ import annotations

import json
from typing import Any

COUNTED = (
    "gemma", "gemma2", "gemma3_text", "gpt_oss", "granite", "llama", "mistral", "mixtral", "olmo2",
    "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "siglip_vision_model",
)  # fmt: skip
"""Families that hpclaunch/predict counts without building them."""
KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings", "attention_bias",
    "mlp_bias", "qkv_bias", "num_experts", "num_local_experts", "num_experts_per_tok",
    "moe_intermediate_size", "shared_expert_intermediate_size", "patch_size", "image_size",
    "num_channels", "vision_use_head",
)  # fmt: skip
"""Figures of a config that a plan reads."""


def model_types() -> dict[str, Any]:
    """Return what `hpclaunch/predict/model_types.json` holds, by the installed Transformers."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    with_tower = {
        family: getattr(CONFIG_MAPPING[family].sub_configs.get("text_config"), "model_type", "")
        for family, name in sorted(CLASSES.items())
        if "ForConditionalGeneration" in name
    }
    return {
        "transformers": transformers.__version__,
        "causal_lm": sorted(CLASSES),
        "with_tower": with_tower,
        "defaults": {family: _defaults(CONFIG_MAPPING[family]) for family in COUNTED},
    }


def _defaults(config_class: Any) -> dict[str, int | bool]:
    found = {key: getattr(config_class, key, None) for key in KEYS}
    return {key: value for key, value in found.items() if isinstance(value, int)}


if __name__ == "__main__":
    print(json.dumps(model_types(), indent=1))
