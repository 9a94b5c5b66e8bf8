"""Which attention a recipe's model trains with, and whether it has a 4D mask, without torch.

Only padded rows, packed rows that sdpa keeps apart, sliding windows under sdpa and eager attention
need a mask of every pair of tokens. The kernels for packed rows take the samples' boundaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from hpclaunch.recipe.schema import Recipe

Mask = Literal["never", "padded", "always"]
"""When attention has a mask: `padded`, where a micro-batch has several sequences."""
VARLEN = "varlen_attn"
"""PyTorch's variable-length kernel, by its name there and in `model.attention`."""
VARLEN_FAMILIES = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3_text", "phi3", "granite", "olmo2",
     "mixtral", "qwen2_moe", "qwen3_moe"}
)  # fmt: skip
"""`model_type`s whose attention is what the variable-length kernel computes: causal, full or with
a sliding window. Not among them: sinks (gpt-oss), chunks (Llama 4), soft-capping (Gemma 2)."""
VARLEN_HEAD = 256
"""Largest head dimension of the variable-length kernel."""
EAGER_FAMILIES = frozenset({"gemma2"})
"""Families of which Transformers has no sdpa: it has no soft-capping."""
_WINDOWS = {"mistral": 4096, "gemma2": 4096, "gemma3_text": 4096}
"""Tokens of a sliding window that a config of these families means where it names none."""


def packs(recipe: Recipe) -> bool:
    """Return whether many samples go into one row."""
    return recipe.objective_spec.packs and recipe.training.get("packing") is not False


def attention_is_eager(recipe: Recipe, family: str) -> bool:
    """Return whether attention runs operation by operation; auto takes one kernel where it can."""
    wanted = recipe.model.attention
    return wanted == "eager" or (wanted == "auto" and family in EAGER_FAMILIES)


def attention_mask(recipe: Recipe, config: Mapping[str, Any], length: int) -> Mask:
    """Return when a step's attention has a mask. `config`: the model's; `length`: of a row.

    A FlashAttention that may be installed in the job's environment is not asked for: like
    `varlen_attn` it takes no mask.
    """
    text = config.get("text_config") or config
    family = str(config.get("model_type", ""))
    without_padding = packs(recipe) or bool(recipe.training.get("padding_free"))
    wanted: str = recipe.model.attention
    if attention_is_eager(recipe, family):
        return "always"
    if wanted == "auto":
        wanted = VARLEN if without_padding and _varlen_computes(family, text) else "sdpa"
    if wanted != "sdpa" or recipe.fsdp.context_parallel > 1:
        return "never"
    window = _window(family, text)
    return "always" if without_padding or (window and window <= length) else "padded"


def _varlen_computes(family: str, text: Mapping[str, Any]) -> bool:
    """Return what `hpclaunch.train.attention.varlen_problem` finds, with a PyTorch that has it."""
    width, heads = text.get("hidden_size"), text.get("num_attention_heads")
    head = text.get("head_dim") or (width // heads if width and heads else 0)
    capped = text.get("attn_logit_softcapping") or text.get("attention_dropout")
    return family in VARLEN_FAMILIES and head <= VARLEN_HEAD and not capped


def _window(family: str, text: Mapping[str, Any]) -> int | None:
    """Return the tokens of a model's sliding window, None where it has none."""
    if text.get("use_sliding_window", not family.startswith("qwen")) is False:
        return None
    tokens = text.get("sliding_window", _WINDOWS.get(family))
    return tokens if isinstance(tokens, int) else None
