"""What loading takes of a node's memory, and how long: each rank its shard, against all of it.

`python -m tests.benchmarks.loading [FOLDER] [254m|1b] [RANKS]`: one step each of a full fine-tune,
LoRA and QLoRA of a random Llama on CPU ranks, loaded both ways; docs/evidence/loading.md keeps the
answer. Memory is sampled every 20 ms from the beginning of the attempt to that of the first step.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.phase import read_phase
from tests.train.conftest import question, write_jsonl
from tests.train.running import launch_real, make_run

SIZES: dict[str, dict[str, int]] = {
    "254m": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16},
    "1b": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 20},
}
KINDS = ("RssAnon", "RssFile")
"""Memory of the rank's own, and pages of files."""


def build(folder: Path, size: str) -> None:
    """Save a random Llama in bfloat16, in files of 200 MB."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from hpclaunch.train.tiny_llama import Size, build_tokenizer

    torch.manual_seed(1)
    tokenizer = build_tokenizer([" ".join(question(n)) for n in range(64)], Size(vocabulary=400))
    config = LlamaConfig(
        **SIZES[size],
        vocab_size=32000,
        num_attention_heads=16,
        num_key_value_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="200MB")
    tokenizer.save_pretrained(folder)
    print(f"{size}: {sum(each.numel() for each in model.parameters()):,} parameters", flush=True)


def ranks_of(folder: RunFolder) -> Iterator[int]:
    """Yield the process ids of a run's ranks."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().decode().split("\0")
            if "hpclaunch.train" in words and str(folder.root) in words and "-m" in words:
                environment = (path / "environ").read_bytes()
                if b"\0RANK=" in environment:
                    yield int(path.name)


class Sampler(threading.Thread):
    """Keeps the peaks of the ranks' memory until the first step begins."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.node: Counter[str] = Counter()
        self.base = 0
        """Bytes of the ranks' own memory when imports are done."""
        self.ended = False

    def run(self) -> None:
        """Sample."""
        while not self.ended:
            phase = read_phase(self.folder)
            name = "" if phase is None else phase.name
            if name == "the first step is running":
                return
            now: Counter[str] = Counter()
            for pid in ranks_of(self.folder):
                with contextlib.suppress(OSError):
                    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                        key, _, value = line.partition(":")
                        if key in KINDS:
                            now[key] += int(value.split()[0]) * 1024
            if name.startswith("reading"):
                self.base = max(self.base, now["RssAnon"])
            self.node |= now
            time.sleep(0.02)


def measure(root: Path, model: Path, rows: Path, method: str, way: str, ranks: int) -> None:
    """Train one step and print a row of the table."""
    name = f"{model.name}-{method}-{way}"
    shutil.rmtree(root / name, ignore_errors=True)
    folder = make_run(
        root / name,
        [
            f"model.name={model}", f"data.name={rows}", "data.validation_split=null",
            f"method.kind={method}", "model.dtype=bfloat16", f"fsdp.loading={way}",
            "training.max_steps=1", "training.max_length=64",
            "training.per_device_train_batch_size=1", "training.optim=sgd",
            "training.learning_rate=1e-2", "training.warmup_steps=0",
            "checkpoints.every_steps=0", "tracking.tensorboard=false",
        ],
        per_node=ranks,
    )  # fmt: skip
    sampler = Sampler(folder)
    sampler.start()
    outcome = launch_real(folder, ranks, timeout=3000)
    sampler.ended = True
    sampler.join()
    if outcome.code:
        print(outcome.said[-3000:])
        raise SystemExit(1)
    first = {each["event"]: each for each in reversed(list(read_events(folder.events)))}
    seconds = first["step"]["time"] - first["start"]["time"]
    own, files = (sampler.node[kind] / 1e6 for kind in KINDS)
    print(
        f"| {method} | {way} | {own:,.0f} | {sampler.base / 1e6:,.0f} | {files:,.0f} | "
        f"{seconds:.1f} | {digest(folder.final)} |",
        flush=True,
    )


def digest(final: Path) -> str:
    """Return the first digits of the SHA-256 of the final weights."""
    found: Any = hashlib.sha256()
    for path in sorted(final.glob("*.safetensors")):
        found.update(path.read_bytes())
    return str(found.hexdigest()[:8])


def main(arguments: list[str]) -> None:
    """Measure all methods both ways."""
    base, size, ranks = (*arguments, *("", "254m", "4")[len(arguments) :])
    root = Path(base or tempfile.mkdtemp())
    model = root / f"model-{size}"
    if not model.exists():
        build(model, size)
    rows = write_jsonl(
        root / "rows.jsonl",
        [
            {"messages": [
                {"role": "user", "content": question(n)[0]},
                {"role": "assistant", "content": question(n)[1]},
            ]}
            for n in range(32)
        ],
    )  # fmt: skip
    print(
        "| method | loading | own MB a node | of it before | file pages MB | first step s | SHA |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for method in ("full", "lora", "qlora"):
        for way in ("whole", "sharded"):
            measure(root, model, rows, method, way, int(ranks))


if __name__ == "__main__":
    main(sys.argv[1:])
