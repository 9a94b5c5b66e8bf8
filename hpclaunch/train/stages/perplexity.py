"""Perplexity of a model on texts: the same texts before and after it is quantized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from hpclaunch.train import phases

TEXTS = 64
"""Texts that are measured on."""
MAX_LENGTH = 512
"""Tokens of each."""


def perplexity(model: Any, tokenizer: Any, texts: Sequence[str]) -> float | None:
    """Return e to the mean loss of a token, in float32; None without a token to predict."""
    loss, tokens = 0.0, 0
    special = not tokenizer.chat_template  # a template writes its own
    with torch.no_grad():
        for number, text in enumerate(texts, 1):
            ids = tokenizer(
                text,
                return_tensors="pt",
                truncation=True,
                max_length=MAX_LENGTH,
                add_special_tokens=special,
            )["input_ids"].to(model.device)
            if ids.shape[1] < 2:
                continue
            logits = model(input_ids=ids).logits[0, :-1].float()
            loss += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
            tokens += ids.shape[1] - 1
            phases.count(number, len(texts), "texts")
    return math.exp(min(loss / tokens, 700.0)) if tokens else None
