"""What a checkpoint costs training: waited for, and written while training goes on.

    python -m tests.benchmarks.checkpoints [ROUNDS]

A full fine-tune on two CPU ranks (FSDP 2, gloo) of models of growing size, without checkpoints,
with ones that training waits for, and with asynchronous ones, in turns. `stalled` is how long the
trainer stood still, `lost` all the time by which the steps took longer than without any checkpoint;
both for one checkpoint, in steps.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from tests.train.running import launch, make_run

STEPS, EVERY, WARM_UP = 40, 10, 4
SIZES = {"small": (128, 2), "medium": (384, 4), "large": (768, 6)}
"""Hidden size and layers."""
KINDS = {
    "none": ["checkpoints.every_steps=0"],
    "waiting": [f"checkpoints.every_steps={EVERY}"],
    "asynchronous": [f"checkpoints.every_steps={EVERY}", "checkpoints.asynchronous=true"],
}


def write_model(folder: Path, hidden: int, layers: int) -> Path:
    """Save a random Llama with a tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from hpclaunch.train.tiny_llama import Size, build_tokenizer

    tokenizer = build_tokenizer(["What colour is box 1? It is red."], Size(vocabulary=400))
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(root: Path, model: Path, rows: Path, more: list[str]) -> list[dict[str, Any]]:
    """Train once; gives the run's marks."""
    overrides = [
        f"model.name={model}",
        f"data.name={rows}",
        "data.validation_split=null",
        "method.kind=full",
        f"training.max_steps={STEPS}",
        "training.per_device_train_batch_size=2",
        "training.logging_steps=1",
        "checkpoints.keep=1",
        "tracking.tensorboard=false",
        *more,
    ]
    folder: RunFolder = make_run(root, overrides)
    done = launch(folder, 2, timeout=900)
    if done.code:
        sys.exit(done.said)
    return read_events(folder.events)


def span(marks: list[dict[str, Any]]) -> float:
    """Return the seconds from the end of the warm-up to the end of the last step but the last save.

    The last checkpoint, whose time comes after the last step, is left out.
    """
    at = {mark["step"]: mark["time"] for mark in marks if mark["event"] == "step"}
    return float(at[STEPS] - at[WARM_UP])


def main() -> int:
    """Measure and print; returns the exit code."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"{'size':<8}{'MB':>7}{'step':>9}  {'kind':<14}{'stalled':>9}{'lost':>8}{'in place':>10}")
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        rows = base / "rows.jsonl"
        rows.write_text(
            "".join(
                json.dumps({"text": f"What colour is box {n}? It is red. " * 3}) + "\n"
                for n in range(64)
            )
        )
        for name, (hidden, layers) in SIZES.items():
            model = write_model(base / name, hidden, layers)
            found: dict[str, list[list[dict[str, Any]]]] = {kind: [] for kind in KINDS}
            for number in range(rounds):
                for kind, more in KINDS.items():
                    root = base / f"{name}-{kind}-{number}"
                    found[kind].append(train(root, model, rows, more))
            show(name, found)
    return 0


def show(name: str, found: dict[str, list[list[dict[str, Any]]]]) -> None:
    """Print the lines of one size."""
    plain = statistics.median(span(marks) for marks in found["none"])
    step = plain / (STEPS - WARM_UP)
    for kind in ("waiting", "asynchronous"):
        saves = [m for marks in found[kind] for m in marks if m["event"] == "checkpoint"]
        within = STEPS // EVERY - 1  # the last comes after the last step
        stalled = statistics.median(save["stalled"] for save in saves) / step
        lost = statistics.median(span(marks) - plain for marks in found[kind]) / within / step
        whole = statistics.median(save["seconds"] for save in saves) / step
        megabytes = saves[0]["bytes"] / 1e6
        print(
            f"{name:<8}{megabytes:>7.1f}{step * 1000:>6.0f} ms  {kind:<14}{stalled:>9.2f}"
            f"{lost:>8.2f}{whole:>10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
