"""New tokens: their rows start at random, are trained in input and output, and are saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.train.model import lora_config
from tests.train.conftest import Done, random_llama, short, train, write_jsonl
from tests.train.running import losses
from tests.train.weights import adapter_of

pytestmark = pytest.mark.train

TOKENS = [
    "data.special_tokens=['<call>', '<done>']",
    "checkpoints.every_steps=0",
]


@pytest.fixture(scope="package")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return texts that begin with one new token and end with another."""
    rows = [{"text": f"<call> box {n} <done>"} for n in range(32)]
    return write_jsonl(tmp_path_factory.mktemp("calls") / "calls.jsonl", rows)


@pytest.fixture(scope="package")
def spread(tmp_path_factory: pytest.TempPathFactory, tiny: Path, calls: Path) -> Done:
    """Return a run on two ranks."""
    overrides = [*short(tiny, calls, steps=30), *TOKENS]
    return train(tmp_path_factory.mktemp("runs") / "tokens", overrides)


def test_new_tokens_are_learnt_saved_and_loaded(spread: Done, tiny: Path) -> None:
    """Frozen they would stay random, unsaved they would be lost."""
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    assert spread.outcome.code == 0, spread.outcome.said
    seen = losses(spread.folder)
    assert seen[30] < seen[1] - 1
    tokenizer = AutoTokenizer.from_pretrained(spread.folder.final)
    known = len(AutoTokenizer.from_pretrained(tiny))
    ids = tokenizer.convert_tokens_to_ids(["<call>", "<done>"])
    assert ids == [known, known + 1]
    model = AutoPeftModelForCausalLM.from_pretrained(spread.folder.final, dtype=torch.float32)
    inputs = tokenizer("<call> box 3 ", return_tensors="pt")
    with torch.no_grad():
        logits = model(**{k: inputs[k] for k in ("input_ids", "attention_mask")}).logits[0, -1]
    assert ids[1] in logits.topk(5).indices.tolist(), "the output's row was learnt too"
    saved = adapter_of(spread.folder)
    rows = {name: tensor for name, tensor in saved.items() if "trainable_tokens" in name}
    (embedding,) = (tensor for name, tensor in rows.items() if "embed_tokens" in name)
    (head,) = (tensor for name, tensor in rows.items() if "lm_head" in name)
    assert embedding.shape == head.shape == (2, 64)
    # A row starts with a norm near 0.16. <call> is only ever read here, <done> only written.
    assert float(embedding[0].norm()) > 0.25
    assert float(head[1].norm()) > 0.25


def test_a_trained_head_learns_from_all_ranks(tiny: Path, rows: Path, tmp_path: Path) -> None:
    """Sharded by itself, each rank's part of it would get that rank's own gradient alone.

    Plain gradient descent: an optimizer that scales each gradient would hide some of it.
    """
    overrides = [
        *short(tiny, rows, steps=8),
        "method.lora.modules_to_save=[lm_head]",
        "checkpoints.every_steps=0",
        "training.optim=sgd",
        "training.learning_rate=0.3",
    ]
    two = train(tmp_path / "two", overrides)
    whole = [*overrides, "training.per_device_train_batch_size=8"]
    one = train(tmp_path / "one", whole, processes=1)
    assert (two.outcome.code, one.outcome.code) == (0, 0), two.outcome.said + one.outcome.said
    assert losses(two.folder) == pytest.approx(losses(one.folder), rel=1e-3)


def test_tied_embeddings_learn_new_tokens_without_sharding(calls: Path, tmp_path: Path) -> None:
    tied = random_llama(tmp_path / "tied", tied=True)
    overrides = [*short(tied, calls, steps=30), *TOKENS]
    done = train(tmp_path / "run", [*overrides, "fsdp.sharding=none"], processes=1)
    assert done.outcome.code == 0, done.outcome.said
    seen = losses(done.folder)
    assert seen[30] < seen[1] - 1


def test_tied_embeddings_under_fsdp_are_refused(calls: Path, tmp_path: Path) -> None:
    tied = random_llama(tmp_path / "tied", tied=True)
    loaded = AutoModelForCausalLM.from_pretrained(tied)
    with pytest.raises(UserError, match="share their embeddings"):
        lora_config(load("tiny", [*short(tied, calls), *TOKENS]), loaded, [390], fsdp_version=2)
