"""What benchmarks train: models of any shape with random weights, and text of any length."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

WORDS = ("node", "job", "rank", "slurm", "weight", "token", "shard", "gather", "queue", "cluster")


def write_model(place: Path, shape: dict[str, Any]) -> None:
    """Write random bfloat16 weights of a shape (a config.json), with the built-in tokenizer.

    A shape without `vocab_size` gets the tokenizer's.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from hpclaunch.train.tiny_llama import folder_of

    ready = folder_of()
    vocabulary = json.loads((ready / "config.json").read_text())["vocab_size"]
    torch.manual_seed(3)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        config = AutoConfig.for_model(**{"vocab_size": vocabulary, **shape})
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(place)
    for file in ready.glob("*token*"):
        shutil.copy(file, place)
    shutil.copy(ready / "chat_template.jinja", place)


def write_text(path: Path, samples: int, length: int) -> None:
    """Write samples of more than so many tokens each: all are cut to the same length."""
    choose = random.Random(5)  # noqa: S311 - text to train on
    with path.open("w") as stream:
        for _ in range(samples):
            text = " ".join(choose.choices(WORDS, k=2 * length))
            stream.write(json.dumps({"text": text}) + "\n")


def write_short_rows(path: Path, rows: int) -> None:
    """Write instructions and answers with the lengths of Alpaca's: some 90 words in the middle."""
    choose = random.Random(5)  # noqa: S311 - text to train on
    with path.open("w") as stream:
        for _ in range(rows):
            count = max(8, min(900, int(choose.lognormvariate(4.0, 0.7))))
            question = " ".join(choose.choices(WORDS, k=choose.randint(6, 20)))
            answer = " ".join(choose.choices(WORDS, k=count))
            value = {"instruction": question, "input": "", "output": answer}
            stream.write(json.dumps(value) + "\n")
