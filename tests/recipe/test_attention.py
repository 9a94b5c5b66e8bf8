"""When attention has a mask of all pairs of tokens, by recipe and model config."""

from __future__ import annotations

import pytest

from hpclaunch.recipe.attention import attention_mask
from hpclaunch.recipe.load import load
from tests.predict.shapes import SHAPES

LLAMA = SHAPES["8b"]
WINDOWED = {**LLAMA, "model_type": "mistral", "sliding_window": 1024}
UNPACKED = "training.packing=false"
SDPA = "model.attention=sdpa"


@pytest.mark.parametrize(
    ("config", "words", "mask"),
    [
        (LLAMA, [], "never"),
        (LLAMA, [UNPACKED], "padded"),
        (LLAMA, [UNPACKED, "training.padding_free=true"], "never"),
        (LLAMA, [SDPA], "always"),
        (LLAMA, [SDPA, UNPACKED], "padded"),
        (LLAMA, ["model.attention=eager", UNPACKED], "always"),
        (LLAMA, ["model.attention=flash_attention_2", UNPACKED], "never"),
        (LLAMA, ["fsdp.context_parallel=2"], "never"),
        (WINDOWED, [], "never"),
        (WINDOWED, [UNPACKED], "always"),
        ({**WINDOWED, "sliding_window": 8192}, [UNPACKED], "padded"),
        ({**WINDOWED, "sliding_window": None}, [UNPACKED], "padded"),
        ({**WINDOWED, "model_type": "qwen2"}, [UNPACKED], "padded"),
        ({**WINDOWED, "model_type": "qwen2", "use_sliding_window": True}, [UNPACKED], "always"),
        ({**LLAMA, "model_type": "gemma2"}, [], "always"),
        ({**LLAMA, "model_type": "gpt_oss"}, [], "always"),
        ({**LLAMA, "head_dim": 512}, [], "always"),
        ({**LLAMA, "attention_dropout": 0.1}, [], "always"),
    ],
)
def test_a_mask_is_made_where_kernels_need_one(
    config: dict[str, object], words: list[str], mask: str
) -> None:
    recipe = load("llama3.1-8b-lora", words)
    assert attention_mask(recipe, config, 4096) == mask
