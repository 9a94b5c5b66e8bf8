"""Predicted memory and step time against a real GPU: models of 1B to 8B with random weights.

    python -m tests.benchmarks.gpu KIND [WORD ...]

KIND is the card's name as `hpclaunch plan --gpu` takes it: h100, a100_80. Each row trains eight
steps on one GPU by `hpclaunch local` and holds the peak that PyTorch's allocator counted, and the
median step, against what `hpclaunch plan` says of the same recipe. With WORDs only the rows that
hold one of them. Ends with 1 where a peak is off by more than 5% of what was allocated, or more
than 10% under what was reserved, or a step by more than 15%. Needs some 20 GB of disk.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hpclaunch.predict.known_models import known_config
from hpclaunch.run.events import read_events
from tests.benchmarks.calling import call
from tests.benchmarks.material import write_model, write_text
from tests.benchmarks.memory import TENSORS

ALLOCATED, RESERVED, STEP = 0.05, 0.1, 0.15
STEPS, WARM_UP, SAMPLES = 8, 3, 64
GIB = 2**30
RECIPE = """\
name: gpu
model: {name: ./model, dtype: bfloat16}
data: {name: ./data.jsonl}
training: {logging_steps: 1}
checkpoints: {every_steps: 0}
tracking: {tensorboard: false}
"""


@dataclass(frozen=True)
class Row:
    """A fine-tune on one GPU; micro-batches of one sample of `length` tokens."""

    model: str
    method: str
    length: int


ROWS = tuple(
    Row(model, method, length)
    for model, methods in (
        ("meta-llama/Llama-3.2-1B", ("full", "lora", "qlora")),
        ("meta-llama/Llama-3.2-3B", ("full", "lora", "qlora")),
        ("meta-llama/Llama-3.1-8B", ("lora", "qlora")),
    )
    for method in methods
    for length in (1024, 4096, 8192)
)


def trained(folder: Path, row: Row, where: list[str]) -> tuple[float, float, float]:
    """Train; gives allocated and reserved bytes at their highest, and seconds of a step.

    Bytes are nan where no GPU counted them.
    """
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    call(folder, "local", "recipe.yaml", *where, "--name", "bench", "--runs-dir", str(runs),
         *words_of(row), f"training.max_steps={STEPS}")  # fmt: skip
    marks = read_events(runs / "bench/events.jsonl")
    steps = [mark["seconds"] for mark in marks if mark["event"] == "step"]
    memory: dict[str, float] = next(
        (mark for mark in reversed(marks) if mark["event"] == "memory"), {}
    )
    allocated, reserved = (memory.get(key, float("nan")) for key in ("allocated", "reserved"))
    return allocated, reserved, statistics.median(steps[WARM_UP:])


def words_of(row: Row) -> list[str]:
    """Return what plan and training are both told."""
    return [
        "--method", row.method, "training.per_device_train_batch_size=1",
        f"training.max_length={row.length}",
    ]  # fmt: skip


def look(folder: Path, row: Row, kind: str) -> bool:
    """Train a row and print it; says whether something is further off than it may be."""
    write_text(folder / "data.jsonl", SAMPLES, row.length)
    one = ["--nodes", "1", "--gpus", "1", "--gpu", kind]
    told = json.loads(call(folder, "plan", "recipe.yaml", *one, "--json", *words_of(row)))
    memory, told_s = told["memory_bytes"], told["step"]["seconds"]
    tensors = sum(memory[part] for part in TENSORS)
    total = memory["total"] - memory["context"]  # the allocator does not count CUDA's own
    allocated, reserved, seconds = trained(folder, row, ["--gpus", "1"])
    print(
        f"| {row.model.rpartition('/')[2]} | {row.method} | {row.length:,} "
        f"| {allocated / GIB:.1f} GiB | {tensors / allocated - 1:+.1%} | {reserved / GIB:.1f} GiB "
        f"| {total / reserved - 1:+.1%} | {seconds:.2f} s | {told_s / seconds - 1:+.0%} |",
        flush=True,
    )
    near = (
        abs(tensors / allocated - 1) <= ALLOCATED
        and total / reserved - 1 >= -RESERVED
        and abs(told_s / seconds - 1) <= STEP
    )
    return not near


def main() -> int:
    """Measure and print; returns the exit code."""
    import torch

    if len(sys.argv) < 2:
        sys.exit("which kind of GPU? python -m tests.benchmarks.gpu KIND [WORD ...]")
    if not torch.cuda.is_available():
        sys.exit("no GPU that PyTorch can use")
    kind, words = sys.argv[1], sys.argv[2:]
    rows = [row for row in ROWS if not words or any(word in str(row) for word in words)]
    print("| model | method | tokens | allocated | plan | reserved | plan | step | plan |")
    print("|---|---|---|---|---|---|---|---|---|")
    off = 0
    with tempfile.TemporaryDirectory() as place:
        folder, at_hand = Path(place), ""
        (folder / "recipe.yaml").write_text(RECIPE)
        for row in rows:
            if row.model != at_hand:
                shutil.rmtree(folder / "model", ignore_errors=True)
                shape = known_config(row.model)
                assert shape is not None, row.model
                write_model(folder / "model", shape)
                at_hand = row.model
            off += look(folder, row, kind)
    print(f"\n{off} of {len(rows)} rows are further off than they may be")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
