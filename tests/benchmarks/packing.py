"""What packing brings on short samples: tokens/s on two CPU ranks, padded and packed, in turns.

    python -m tests.benchmarks.packing [ROUNDS] [WAY]

A Llama of 5 million parameters, LoRA over DDP, samples with lengths as Alpaca's have them (median
80 tokens). Padded in batches of 2, 8 and 32; packed into rows of 1,024 tokens. By the clock, and by
the ranks' CPU time of the same steps, which other work on the machine disturbs less.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.steps import BIN

FEW = 3
"""Steps of a run that the longer one is held against: the difference has no start and no end."""
ROW = 1024
"""Tokens of a packed row."""
WAYS = {
    "padded, batch 2": ("training.packing=false", 2, 67),
    "padded, batch 8": ("training.packing=false", 8, 19),
    "padded, batch 32": ("training.packing=false", 32, 7),
    "packed, one row of 1,024": ("training.packing=true", 1, 13),
}
"""Each with its batch and the steps of the longer run: some 20,000 tokens."""


def model(folder: Path) -> Path:
    """Save a random Llama of 5 million parameters with a tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from hpclaunch.train.tiny_llama import Size, build_tokenizer

    tokenizer = build_tokenizer([" ".join(WORDS)], Size(vocabulary=400))
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


WORDS = ("red", "green", "blue", "yellow", "black", "white", "brown", "pink", "one", "two")


def data(path: Path, samples: int = 4000) -> Path:
    """Write texts whose lengths are log-normal, 20 to 512 words."""
    draw = random.Random(0)  # noqa: S311 - lengths, and no secret
    with path.open("w", encoding="utf-8") as stream:
        for _ in range(samples):
            words = round(min(512, max(20, draw.lognormvariate(4.2, 0.65))))
            text = " ".join(draw.choice(WORDS) for _ in range(words))
            stream.write(json.dumps({"text": text}) + "\n")
    return path


def run(folder: Path, words: list[str], steps: int) -> tuple[float, float, int]:
    """Return CPU seconds of all, wall seconds and tokens of the steps after the first three."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        str(BIN / "hpclaunch"), "local", "tiny", *words, f"training.max_steps={steps}",
        "--sharding", "none", "--cpu-processes", "2", "--runs-dir", str(folder),
        "--name", f"r{len(list(folder.iterdir()))}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    text = (folder / command[-1] / "events.jsonl").read_text("utf-8")
    events = [json.loads(line) for line in text.splitlines()]
    late = [each for each in events if each["event"] == "step"][FEW:]
    return cpu, sum(each["seconds"] for each in late), sum(each["tokens"] for each in late)


def main() -> int:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    by_clock: dict[str, list[float]] = {way: [] for way in WAYS}
    by_cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "runs").mkdir()
        common = [
            f"model.name={model(folder / 'model')}",
            f"data.name={data(folder / 'data.jsonl')}",
            "data.validation_split=null",
            f"training.max_length={ROW}",
            "training.eval_strategy=no",
            "training.logging_steps=1",
            "training.learning_rate=1e-3",
            "checkpoints.every_steps=0",
            "tracking.tensorboard=false",
        ]
        for _ in range(rounds):
            for way, (packing, batch, steps) in WAYS.items():
                if not way.startswith(only):
                    continue
                words = [*common, packing, f"training.per_device_train_batch_size={batch}"]
                few, _, _ = run(folder / "runs", words, FEW)
                many, seconds, tokens = run(folder / "runs", words, steps)
                by_clock[way].append(tokens / seconds)
                by_cpu[way].append(tokens / max(0.01, many - few))
                print(f"  {way}: {by_clock[way][-1]:,.0f} {by_cpu[way][-1]:,.0f}", file=sys.stderr)
    print(f"{'':28}{'tokens/s':>12}{'tokens per CPU second':>24}")
    for way in filter(by_cpu.get, WAYS):
        clock, cpu = statistics.median(by_clock[way]), statistics.median(by_cpu[way])
        print(f"{way:28}{clock:12,.0f}{cpu:24,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
