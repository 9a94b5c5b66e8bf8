"""The sizes that are measured; tiny ones where the benchmark itself is tried out on CPUs."""

from __future__ import annotations

import os
from typing import Any

from hpclaunch.predict.known_models import known_config

TINY = bool(os.environ.get("HPCLAUNCH_BENCH_TINY"))
DEVICE = "cpu" if TINY else "cuda"
LENGTH = 128 if TINY else 4096
"""Tokens of a row."""
SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 1000,
}  # fmt: skip


def config_of(model: str) -> dict[str, Any]:
    """Return a published model's config.json, cut to a tiny one where that was asked for."""
    config = known_config(model)
    assert config is not None, model
    return {**config, **SMALL} if TINY else dict(config)
