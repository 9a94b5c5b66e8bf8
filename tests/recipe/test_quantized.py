"""Weights that are quantized already: which methods take them."""

from __future__ import annotations

from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.quantized import check_quantized

OWN: list[dict[str, Any]] = [{"quant_method": "bitsandbytes"}, {"load_in_4bit": True}]
OTHERS: list[dict[str, Any]] = [
    {"quant_method": kind} for kind in ("gptq", "awq", "fp8", "compressed-tensors")
]


def check(method: str, section: dict[str, Any]) -> None:
    recipe = load("tiny", [f"method.kind={method}"])
    check_quantized(recipe, {"model_type": "llama", "quantization_config": section})


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_each_kind_of_quantized_weights_has_the_methods_that_train_it(method: str) -> None:
    """Transformers refuses the others, or lacks the package, only in the job."""
    for section in [*OWN, *OTHERS, {"quant_method": "mxfp4"}]:
        taken = section in OWN if method == "qlora" else section.get("quant_method") == "mxfp4"
        if taken:
            check(method, section)
            continue
        with pytest.raises(UserError, match="quantized already") as caught:
            check(method, section)
        assert ("unquantized" in caught.value.fix) == (section in OTHERS)
