"""The product's own runs on one GPU: peak memory and step time against `hpclaunch plan`."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.predict.memory import CONTEXT
from hpclaunch.run.events import read_events
from monitors.external.dmon import DmonReader
from tests.benchmarks.calling import call
from tests.benchmarks.gpu.sizes import LENGTH, TINY, config_of
from tests.benchmarks.material import write_model, write_short_rows, write_text
from tests.benchmarks.memory import TENSORS

GIB = 2**30
WARM_UP = 3
PEAK_WITHIN, STEP_WITHIN = 0.05, 0.15
RECIPE = """\
name: gpu
model: {name: ./model, dtype: bfloat16}
data: {name: ./data.jsonl}
training: {logging_steps: 1}
checkpoints: {every_steps: 0}
tracking: {tensorboard: false}
"""
UNFUSED = ("performance.fused_lora=false", "performance.fused_loss=false")
DMON = ("nvidia-smi", "dmon", "-s", "pucvmet", "-d", "1", "-o", "DT")
COMPARED = {"pwr": "W", "gtemp": "C", "mtemp": "C", "sm": "%", "mem": "%", "pclk": "MHz"}
"""Columns of dmon whose means are held against the sidecar's, with their units."""


@dataclass(frozen=True)
class Trained:
    """What a run measured."""

    peak_bytes: float
    """That PyTorch allocated at most; nan on CPUs."""
    step_seconds: float
    tokens_per_second: float
    """Unpadded, over the steps after the warm-up."""


def prepare(folder: Path, model: str) -> None:
    """Write the recipe and a model with random weights."""
    (folder / "recipe.yaml").write_text(RECIPE)
    shutil.rmtree(folder / "model", ignore_errors=True)
    config = config_of(model)
    if TINY:
        config.pop("vocab_size")
    write_model(folder / "model", config)


def train(folder: Path, name: str, overrides: Sequence[str]) -> Trained:
    """Train by `hpclaunch local` and read the events that the run left."""
    where = ["--cpu-processes", "1"] if TINY else ["--gpus", "1"]
    call(folder, "local", "recipe.yaml", *where, "--name", name, "--runs-dir", "runs", *overrides)
    events = read_events(folder / f"runs/{name}/events.jsonl")
    steps = [event for event in events if event["event"] == "step"][WARM_UP:]
    seconds = [step["seconds"] for step in steps]
    memory: dict[str, Any] = next((e for e in reversed(events) if e["event"] == "memory"), {})
    peaks = [memory.get(key) or 0 for key in ("allocated", "loading_allocated")]
    return Trained(
        peak_bytes=max(peaks) or float("nan"),
        step_seconds=statistics.median(seconds),
        tokens_per_second=sum(step["tokens"] for step in steps) / sum(seconds),
    )


def row(folder: Path, kind: str, name: str, overrides: Sequence[str]) -> bool:
    """Train, print a line beside the prediction; returns whether both figures are near enough.

    A run that fails is printed as such, and the next one goes on.
    """
    try:
        return _row(folder, kind, name, overrides)
    except SystemExit as failed:
        print(f"| {name} | FAILED: {failed.code} |", flush=True)
        return False


def _row(folder: Path, kind: str, name: str, overrides: Sequence[str]) -> bool:
    one = ["--nodes", "1", "--gpus", "1", "--gpu", kind, "--json"]
    plan = json.loads(call(folder, "plan", "recipe.yaml", *one, *overrides))
    memory, step = plan["memory_bytes"], plan["step"]["seconds"]
    loading = plan["loading_bytes"] - CONTEXT  # which the allocator does not count
    predicted = max(sum(memory[part] for part in TENSORS), loading)
    run = train(folder, name, overrides)
    peak_off, step_off = predicted / run.peak_bytes - 1, step / run.step_seconds - 1
    print(
        f"| {name} | {run.peak_bytes / GIB:.2f} GiB | predicted {predicted / GIB:.2f} "
        f"({peak_off:+.1%}) | step {run.step_seconds:.3f} s | predicted {step:.3f} "
        f"({step_off:+.0%}) | {run.tokens_per_second:,.0f} tokens/s |",
        flush=True,
    )
    return TINY or (abs(peak_off) <= PEAK_WITHIN and abs(step_off) <= STEP_WITHIN)


def options(method: str, batch: int, steps: int, *more: str) -> list[str]:
    """Return the overrides of a run."""
    return [
        "--method", method, f"training.per_device_train_batch_size={batch}",
        f"training.max_length={LENGTH}", f"training.max_steps={steps}", *more,
    ]  # fmt: skip


def long_samples(folder: Path, kind: str) -> bool:
    """8B on full rows: LoRA with and without activation checkpointing, QLoRA; and the sidecar."""
    prepare(folder, "meta-llama/Llama-3.1-8B")
    write_text(folder / "data.jsonl", 64, LENGTH)
    none = "training.gradient_checkpointing=false"
    within = row(folder, kind, "lora-kept-activations", options("lora", 2, 7, none))
    within &= row(folder, kind, "lora-kept-unfused", options("lora", 2, 6, none, *UNFUSED))
    within &= row(folder, kind, "qlora", options("qlora", 1, 6))
    with dmon(folder / "dmon.txt"):
        within &= row(folder, kind, "lora", options("lora", 1, 7))
    compare_sampler(folder)
    return within


def unsharded(folder: Path, kind: str) -> bool:
    """8B on full rows with FSDP's units on the single GPU, and without FSDP."""
    if not (folder / "model").exists():
        prepare(folder, "meta-llama/Llama-3.1-8B")
    write_text(folder / "data.jsonl", 64, LENGTH)
    within = True
    for method in ("lora", "qlora"):
        for sharding in ("full", "none"):
            more = (f"fsdp.sharding={sharding}", "training.gradient_checkpointing=false")
            within &= row(folder, kind, f"{method}-{sharding}", options(method, 1, 7, *more))
    return within


def short_samples(folder: Path, kind: str) -> bool:
    """8B LoRA on samples with the lengths of Alpaca's, and TRL's command line on the same rows."""
    if not (folder / "model").exists():
        prepare(folder, "meta-llama/Llama-3.1-8B")
    write_short_rows(folder / "data.jsonl", 1500)
    four, none = "training.gradient_accumulation_steps=4", "training.gradient_checkpointing=false"
    row(folder, kind, "short-packed-kept", options("lora", 2, 8, four, none))
    row(folder, kind, "short-packed", options("lora", 2, 7, four))
    row(folder, kind, "short-padded", options("lora", 2, 8, four, "training.packing=false"))
    trl(folder)
    return True  # steps are predicted for full rows: nothing is held against these


def trl(folder: Path) -> None:
    """Train the same rows by `trl sft`, with its defaults and a batch of 8; print what it says."""
    rows = folder / "conversations"
    rows.mkdir(exist_ok=True)
    with (folder / "data.jsonl").open() as source, (rows / "train.jsonl").open("w") as target:
        for line in source:
            value = json.loads(line)
            pair = {"prompt": value["instruction"] + "\n", "completion": value["output"]}
            target.write(json.dumps(pair) + "\n")
    dtype = ["--use_cpu", "true", "--bf16", "false"] if TINY else ["--dtype", "bfloat16"]
    command = [
        sys.executable, "-c", "from trl.cli import main; main()", "sft", "--use_peft",
        "--model_name_or_path", str(folder / "model"), "--dataset_name", str(rows),
        "--lora_r", "16", "--lora_alpha", "32", "--lora_target_modules", "all-linear",
        "--max_steps", "12", "--logging_steps", "1", "--output_dir", str(folder / "trl"),
        "--report_to", "none", "--save_strategy", "no", *dtype,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if "train_runtime" in line]
    print(f"| trl sft | {said[-1] if said else done.stderr[-600:]} |", flush=True)


def matrix(folder: Path, kind: str) -> bool:
    """Three models, their methods, three lengths each."""
    within = True
    for model, methods in (
        ("meta-llama/Llama-3.2-1B", ("full", "lora", "qlora")),
        ("meta-llama/Llama-3.2-3B", ("full", "lora", "qlora")),
        ("meta-llama/Llama-3.1-8B", ("lora", "qlora")),
    ):
        prepare(folder, model)
        for method in methods:
            for length in (LENGTH // 4, LENGTH, 2 * LENGTH):
                write_text(folder / "data.jsonl", 64, length)
                name = f"{model.rpartition('/')[2]}-{method}-{length}"
                last = f"training.max_length={length}"
                within &= row(folder, kind, name, options(method, 1, 8, last))
    return within


@contextmanager
def dmon(file: Path) -> Iterator[None]:
    """Let `nvidia-smi dmon` write into a file meanwhile, where there is one."""
    if shutil.which(DMON[0]) is None:
        yield
        return
    with file.open("w") as stream:
        process = subprocess.Popen(DMON, stdout=stream, env=dict(os.environ))
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def compare_sampler(folder: Path) -> None:
    """Print the means of dmon and of the sidecar over the seconds that both recorded."""
    if not (folder / "dmon.txt").exists():
        print("(no nvidia-smi here: nothing to hold the sidecar against)")
        return
    (folder / "sampler.txt").write_text(call(folder, "export", "runs/lora", "--to", "dmon"))
    tables = []
    for name in ("dmon.txt", "sampler.txt"):
        with (folder / name).open() as stream:
            tables.append({r.when: r.values for r in DmonReader(stream) if r.gpu == 0})
    both = [(tables[0][when], tables[1][when]) for when in tables[0].keys() & tables[1].keys()]
    for column, unit in COMPARED.items():
        pairs = [(a.get(column), b.get(column)) for a, b in both]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if known:
            means = [statistics.fmean(pair[side] for pair in known) for side in (0, 1)]
            print(f"| {column} | dmon {means[0]:.1f} {unit} | sidecar {means[1]:.1f} {unit} |")
