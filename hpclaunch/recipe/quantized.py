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

_TRAINED_BY = {_OWN: {"qlora"}, MXFP4: {"full", "lora"}}
"""Methods that take weights quantized so; none takes any other kind (GPTQ, AWQ, FP8)."""

_FIXES = {_OWN: "train it as it is: --method qlora", MXFP4: "train it as bfloat16: --method lora"}


def quantized_by(config: Mapping[str, Any]) -> str | None:
    """Return how a config.json says that its weights are quantized; None where they are not."""
    text = config.get("text_config")
    places = (config, text) if isinstance(text, Mapping) else (config,)
    # compressed-tensors had a key of its own once.
    keys = ("quantization_config", "compression_config")
    sections = (place.get(key) for place in places for key in keys)
    section = next((each for each in sections if isinstance(each, Mapping)), None)
    if section is None:
        return None
    kind = section.get("quant_method")
    if kind is None and (section.get("load_in_4bit") or section.get("load_in_8bit")):
        return _OWN  # as it wrote it before there were others
    return kind if isinstance(kind, str) else None


def check_quantized(recipe: Recipe, config: Mapping[str, Any]) -> None:
    """Refuse a method that cannot train weights that are quantized already. Raises UserError."""
    kind, method = quantized_by(config), recipe.method.kind
    if kind is None or method in _TRAINED_BY.get(kind, ()):
        return
    what = "QLoRA quantizes 16-bit weights" if method == "qlora" else "16-bit weights are trained"
    raise UserError(
        f"method.kind: {method}: the weights of {recipe.model.name} are quantized already "
        f"({kind}), and {what}",
        _FIXES.get(kind, "name the unquantized model"),
    )
