"""Two models on the same tokens: how far their logits are apart."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hpclaunch.train.stages.free_memory import free_bytes
from hpclaunch.train.stages.inputs import Weights
from hpclaunch.train.stages.models import load_model, load_tokenizer
from hpclaunch.units import size

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "def add(a, b):\n    return a + b\n",
    "A cluster has 128 nodes; each of them has four GPUs and two CPUs.",
)
"""What is read: a hundred tokens are enough to tell one model from another."""
ROOM = 1.3
"""Memory that a model needs for this, times its weights."""


def no_room(folder: Path) -> str:
    """Return why a model is too large for this machine's free memory; '' where it is not."""
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    free = free_bytes()
    if weights * ROOM < free:
        return ""
    return f"the whole model takes {size(weights * ROOM)}, and {size(free)} of memory are free"


def logits(weights: Weights, base: Path, merged: Path) -> dict[str, float]:
    """Return the largest difference of logits, and the mean KL divergence in nats."""
    tokenizer = load_tokenizer(weights)
    before = _logits(replace(weights, model=str(base), revision=None), tokenizer)
    after = _logits(Weights(weights.name, str(merged), None, None, ""), tokenizer)
    most, divergences = 0.0, []
    for one, other in zip(before, after, strict=True):
        most = max(most, float((one - other).abs().max()))
        left, right = one.log_softmax(-1), other.log_softmax(-1)
        divergences.append((left.exp() * (left - right)).sum(-1))
    return {
        "max": most,
        "kl": max(0.0, float(torch.cat(divergences).mean())),
        "tokens": sum(each.shape[0] for each in before),
    }


def _logits(weights: Weights, tokenizer: Any) -> list[Any]:
    model = load_model(weights, len(tokenizer))
    found = []
    with torch.no_grad():
        for text in TEXTS:
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            found.append(model(input_ids=ids).logits[0].float())
    del model
    gc.collect()
    return found
