"""A small random Llama on disk, a few rows, and finished runs that several tests look at."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpclaunch.run.folder import RunFolder
from tests.storage import BUCKET, Storage
from tests.train.running import Outcome, caches, launch, launch_real, make_run

COLOURS = ("red", "green", "blue", "yellow", "black", "white", "brown", "pink")


@pytest.fixture(scope="package", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep caches of models and data in the tests' folder, here and in the programs they start."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in caches().items():
            patch.setenv(name, value)
        patch.setenv("HPCLAUNCH_CACHE", str(tmp_path_factory.mktemp("caches")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        yield


def question(number: int) -> tuple[str, str]:
    """Return a question and its answer, all of them a little different."""
    colour = COLOURS[number % len(COLOURS)]
    return f"What colour is box {number}?", f"Box {number} is {colour}."


def write_jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows one a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="package")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a jsonl file of 32 conversations."""
    return write_jsonl(
        tmp_path_factory.mktemp("data") / "boxes.jsonl",
        [
            {
                "messages": [
                    {"role": "user", "content": question(n)[0]},
                    {"role": "assistant", "content": question(n)[1]},
                ]
            }
            for n in range(32)
        ],
    )


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random Llama whose output head is a matrix of its own."""
    return random_llama(tmp_path_factory.mktemp("model") / "random-llama", tied=False)


def random_llama(folder: Path, *, tied: bool) -> Path:
    """Save a random Llama of 2 layers in float32, with a tokenizer and chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from hpclaunch.train.tiny_llama import Size, build_tokenizer

    texts = [" ".join(question(n)) for n in range(64)]
    tokenizer = build_tokenizer(texts, Size(vocabulary=400))
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def short(tiny: Path, rows: Path, steps: int = 6) -> list[str]:
    """Return the overrides of a run of a few seconds."""
    return [
        f"model.name={tiny}",
        f"data.name={rows}",
        "data.validation_split=null",
        f"training.max_steps={steps}",
        "training.max_length=64",
        "training.per_device_train_batch_size=4",
        "training.learning_rate=1e-2",
        "training.gradient_checkpointing=true",
        "training.warmup_steps=0",
        "training.logging_steps=1",
        "training.lr_scheduler_type=constant",
        "checkpoints.every_steps=3",
        "checkpoints.keep=2",
        "tracking.tensorboard=false",
    ]


@dataclass(frozen=True)
class Done:
    """A run folder and how its training ended."""

    folder: RunFolder
    outcome: Outcome


def train(root: Path, overrides: list[str], processes: int = 2, nodes: int = 1) -> Done:
    """Make a run folder and train in it."""
    folder = make_run(root, overrides, nodes=nodes, per_node=processes // nodes)
    return Done(folder, launch(folder, processes))


@pytest.fixture(scope="package")
def lora_run(tmp_path_factory: pytest.TempPathFactory, tiny: Path, rows: Path) -> Done:
    """Return a LoRA run on two ranks, fully sharded, with Transformers' checkpointing."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "lora", short(tiny, rows))
    return Done(folder, launch_real(folder, 2))


@pytest.fixture(scope="package")
def qlora_run(tmp_path_factory: pytest.TempPathFactory, tiny: Path, rows: Path) -> Done:
    """Return a QLoRA run on two ranks, fully sharded."""
    overrides = [*short(tiny, rows), "method.kind=qlora", "model.dtype=bfloat16"]
    return train(tmp_path_factory.mktemp("runs") / "qlora", overrides)


@pytest.fixture(scope="package")
def full_run(tmp_path_factory: pytest.TempPathFactory, tiny: Path, rows: Path) -> Done:
    """Return a full fine-tune on two ranks in bfloat16, fully sharded."""
    overrides = [*short(tiny, rows), "method.kind=full", "model.dtype=bfloat16"]
    return train(tmp_path_factory.mktemp("runs") / "full", overrides)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A run folder's checkpoints on a disk that holds one of them and no more."""
    root = tmp_path / "full"
    disk = root / "checkpoints"
    disk.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(disk)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture(scope="package")
def server() -> Iterator[Storage]:
    """A server for all tests, each with a folder of its own in it."""
    storage = Storage()
    yield storage
    storage.stop()


@pytest.fixture(scope="package")
def copied(
    server: Storage, tmp_path_factory: pytest.TempPathFactory, tiny: Path, rows: Path
) -> Done:
    """A LoRA run on two ranks whose checkpoints and weights went to the server."""
    root = tmp_path_factory.mktemp("runs") / "copied"
    folder = make_run(root, [*short(tiny, rows), f"checkpoints.sync_to=s3://{BUCKET}/done"])
    return Done(folder, launch(folder, 2, 600, **server.variables))
