"""Predicted memory beside the simulated step and `accelerate estimate-memory`, whole models.

    python -m tests.benchmarks.memory [WORD ...]

For families that the plan knows by their config.json: what `hpclaunch plan` counts, what PyTorch's
FSDP memory tracker counts over tensors without values (`--exact`), and what accelerate's estimator
gives for training with Adam, which knows neither adapters nor ranks. With WORDs only the rows that
hold one of them. Ends with 1 where plan and tracker are more than 5% apart. Half a minute a row.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.predict.known_models import known_config
from tests.benchmarks.calling import call
from tests.benchmarks.estimator import GIB, training_bytes

LIMIT = 0.05
TENSORS = ("weights", "scales", "gradients", "optimizer", "activations", "unsharded")
UNLISTED: dict[str, dict[str, Any]] = {
    "gemma-2-9b": {
        "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336,
        "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 256, "vocab_size": 256000, "tie_word_embeddings": True,
    },
    "phi-3-mini": {
        "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "vocab_size": 32064, "tie_word_embeddings": False, "pad_token_id": 32000,
    },
}  # fmt: skip
"""Shapes of published models that `models.json` does not list."""


@dataclass(frozen=True)
class Row:
    """A fine-tune to look at."""

    model: str
    method: str
    gpus: int
    length: int = 2048


ROWS = (
    Row("meta-llama/Llama-3.2-1B", "full", 1),
    Row("meta-llama/Llama-3.2-1B", "full", 4),
    Row("meta-llama/Llama-3.2-1B", "lora", 1),
    Row("meta-llama/Llama-3.1-8B", "full", 8),
    Row("meta-llama/Llama-3.1-8B", "lora", 1),
    Row("meta-llama/Llama-3.1-8B", "lora", 4, 8192),
    Row("meta-llama/Llama-3.1-8B", "qlora", 1),
    Row("meta-llama/Llama-3.1-70B", "full", 64),
    Row("meta-llama/Llama-3.1-70B", "lora", 16),
    Row("meta-llama/Llama-3.1-70B", "qlora", 4),
    Row("mistralai/Mistral-7B-v0.3", "lora", 4),
    Row("Qwen/Qwen2.5-7B", "full", 8),
    Row("Qwen/Qwen2.5-7B", "lora", 2),
    Row("Qwen/Qwen3-8B", "qlora", 2),
    Row("gemma-2-9b", "lora", 4),
    Row("phi-3-mini", "full", 4),
    Row("phi-3-mini", "lora", 1),
    Row("mistralai/Mixtral-8x7B-v0.1", "lora", 8),
)


def config_in(folder: Path, model: str) -> str:
    """Write a model's config.json; gives the path of its folder as a model's name."""
    from transformers import AutoConfig

    place = folder / model.rpartition("/")[2]
    if not place.exists():
        shape = UNLISTED.get(model) or known_config(model)
        assert shape is not None, model
        made = AutoConfig.for_model(**shape)
        made.architectures = []
        place.mkdir()
        (place / "config.json").write_text(json.dumps({**shape, "torch_dtype": "bfloat16"}))
    return str(place)


def planned(folder: Path, row: Row) -> dict[str, Any]:
    """Return what `plan --exact --json` says."""
    nodes = max(1, row.gpus // 4)
    words = [
        "plan", "llama3-8b-lora", "--model", config_in(folder, row.model), "--method", row.method,
        "--nodes", f"{nodes}", "--gpus", f"{row.gpus // nodes}", "--gpu", "h100", "--exact",
        "--json", "training.global_batch=null", "training.per_device_train_batch_size=1",
        "training.gradient_accumulation_steps=4", f"training.max_length={row.length}",
    ]  # fmt: skip
    found: dict[str, Any] = json.loads(call(folder, *words))
    return found


def main() -> int:
    """Measure and print; returns the exit code."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    words = sys.argv[1:]
    rows = [row for row in ROWS if not words or any(word in str(row) for word in words)]
    worst = 0.0
    print("| model | method | GPUs, tokens | plan | simulated | off | estimate-memory, one GPU |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for row in rows:
            found = planned(folder, row)
            memory = found["memory_bytes"]
            # The tracker counts tensors: neither the CUDA context nor what the allocator keeps.
            tensors = sum(memory[part] for part in TENSORS) / GIB
            simulated = found["simulated_bytes"] / GIB
            off = tensors / simulated - 1
            worst = max(worst, abs(off))
            print(
                f"| {row.model.rpartition('/')[2]} | {row.method} | {row.gpus}, {row.length:,} "
                f"| {tensors:.1f} GiB | {simulated:.1f} GiB | {off:+.1%} "
                f"| {training_bytes(config_in(folder, row.model)) / GIB:.0f} GiB |",
                flush=True,
            )
    print(f"\nat most {worst:.1%} apart; wanted {LIMIT:.0%}")
    return 1 if worst > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
