"""Models whose published weights are quantized already: which methods take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Recipe

MXFP4 = "mxfp4"
"""Of gpt-oss: four-bit experts, for inference alone. They are trained as bfloat16."""
_OWN = "bitsandbytes"
"""What QLoRA itself quantizes by."""


def quantized_by(config: Mapping[str, Any]) -> str | None:
    """Return how a config.json says that its weights are quantized; None where they are not."""
    section = config.get("quantization_config")
    kind = section.get("quant_method") if isinstance(section, Mapping) else None
    return kind if isinstance(kind, str) else None


def check_quantized(recipe: Recipe, config: Mapping[str, Any]) -> None:
    """Refuse QLoRA on weights that are quantized in another way. Raises UserError."""
    kind = quantized_by(config)
    if recipe.method.kind != "qlora" or kind in {None, _OWN}:
        return
    fix = "train it as bfloat16: --method lora" if kind == MXFP4 else "name the unquantized model"
    raise UserError(
        f"method.kind: qlora: the weights of {recipe.model.name} are quantized already ({kind}), "
        "and QLoRA quantizes 16-bit weights",
        fix,
    )
