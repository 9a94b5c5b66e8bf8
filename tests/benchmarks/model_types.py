"""What `plan --exact` says of every model type that the trainer can load, and whether it is right.

    python -m tests.benchmarks.model_types [MODEL_TYPE ...]

Each type is simulated with LoRA, full shard over four ranks and activation checkpointing, with
samples of 1,024 tokens: its config's defaults, cut to two layers and a small vocabulary; those that
need more keys have them in small_configs.json. What is refused is tried without checkpointing,
without sharding, and without both; and each way that is refused is trained for real with two CPU
ranks, where the model is small. A line a type. Some ten seconds a type.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.causal import CAUSAL_BY, check_causal
from hpclaunch.train.process import hide_bitsandbytes
from tests.benchmarks.real_step import answer_of, real_step

SMALL = Path(__file__).with_name("small_configs.json")
TYPES = Path("hpclaunch/predict/model_types.json")
TOKENS, SECONDS = 1024, 100
DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "decoder_layers",
          "encoder_layers", "num_encoder_layers", "num_decoder_layers")  # fmt: skip
SIZES = {"vocab_size": 256, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
         "num_experts_per_tok": 2}  # fmt: skip
POSITIONS = ("max_position_embeddings", "n_positions")
TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
IMPORTED = ("accelerate.utils.fsdp_utils", "peft", "trl.kernels",
            "hpclaunch.train.simulation.peaks",
            "hpclaunch.train.simulation.token_loops")  # fmt: skip
"""Once, and not in the process of each type."""
WAYS: dict[str, dict[str, Any]] = {
    "as asked": {},
    "without activation checkpointing": {"activation_checkpointing": False},
    "not sharded": {"sharding": "none", "shards": 1},
    "neither": {"activation_checkpointing": False, "sharding": "none", "shards": 1},
}


def configs(family: str) -> Iterator[dict[str, Any]]:
    """Yield configs of a type, the smallest first: its own, or its defaults with fewer layers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    causal = {"model_type": family, **CAUSAL_BY.get(family, {})}
    own = json.loads(SMALL.read_text("utf-8")).get(family)
    if own is not None:
        yield {**own, **causal}
    for layers, sizes in ((2, SIZES), (2, {}), (4, {}), (8, {}), (None, {})):
        config = json.loads(CONFIG_MAPPING[family]().to_json_string(use_diff=False))
        parts = (config.get(name) for name in ("text_config", "decoder", "language_config"))
        _cut(next((part for part in parts if isinstance(part, dict)), config), layers, sizes)
        yield {**config, **causal}


def _cut(text: dict[str, Any], layers: int | None, sizes: dict[str, int]) -> None:
    """Make a text model's config small, in place."""
    depth = next((text[key] for key in DEPTHS if isinstance(text.get(key), int)), None)
    for key, value in text.items():
        if layers and isinstance(value, list) and len(value) == depth:
            text[key] = value[:layers]
        elif layers and key == "per_layer_config" and isinstance(value, dict):
            text[key] = {number: keys for number, keys in value.items() if int(number) < layers}
        elif layers and key in DEPTHS and isinstance(value, int):
            text[key] = layers
        elif key in POSITIONS and isinstance(value, int) and value < TOKENS + 2:
            text[key] = TOKENS + 2
        elif key in sizes and isinstance(value, int):
            text[key] = sizes[key]
        elif sizes and key in TOKEN_IDS:
            text[key] = 0


def outcome(family: str) -> str:
    """Return what comes of a type: bytes and parameters by the way that gives them, or why not."""
    from hpclaunch.train.simulation.simulate import simulate

    refused: list[str] = []
    for number, config in enumerate(configs(family)):
        for way, changes in WAYS.items():
            request = {
                "config": config, "method": "lora", "lora": {"r": 16}, "sharding": "full",
                "shards": 4, "micro_batch_size": 1, "seq_len": TOKENS, "mask": False,
                "activation_checkpointing": True, **changes,
            }  # fmt: skip
            try:
                found = simulate(request, lambda _: None)
            except Exception as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())
                real = real_step(request)[:160] if number == 0 else "not tried, it is larger"
                refused.append(f"{way}: {text[:160]} | for real: {real}")
                if "cannot be built" in text:
                    break
                continue
            total, parameters = found["bytes"]["Total"], found["parameters"]
            return "\n".join([f"{way}: {total:,.0f} bytes, {parameters:,} parameters", *refused])
    return "\n".join(["no figure", *refused])


def main(words: list[str]) -> int:
    """Go through the types and print a line for each; return 1 where one has no result."""
    hide_bitsandbytes()
    import torch

    for name in IMPORTED:
        import_module(name)
    torch.set_num_threads(1)
    missing = 0
    for family in words or json.loads(TYPES.read_text("utf-8"))["causal_lm"]:
        began = time.monotonic()
        try:
            check_causal({"model_type": family, **CAUSAL_BY.get(family, {})}, family)
        except UserError as error:
            found = f"refused by every plan: {error.message}"
        else:
            found = answer_of(partial(outcome, family), SECONDS)
        missing += not found
        print(f"{family} ({time.monotonic() - began:.0f} s): {found or 'NO RESULT'}", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
