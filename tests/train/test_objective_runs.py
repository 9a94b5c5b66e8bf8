"""Runs of the objectives beside SFT: trained, resumed, saved, loaded by plain libraries."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from tests.train.conftest import Done, question, short, write_jsonl
from tests.train.running import events_of, launch, losses, make_run
from tests.train.weights import adapter_of

pytestmark = pytest.mark.train


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def pair(n: int) -> dict[str, Any]:
    asked, good = question(n)
    prompt = [turn("user", asked)]
    wrong = turn("assistant", "no" * (1 + n % 3))
    return {"prompt": prompt, "chosen": [turn("assistant", good)], "rejected": [wrong]}


def labelled(n: int) -> dict[str, Any]:
    asked, good = question(n)
    answer = good if n % 2 else "no"
    completion = [turn("assistant", answer)]
    return {"prompt": [turn("user", asked)], "completion": completion, "label": bool(n % 2)}


ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "dpo": pair,
    "reward": pair,
    "kto": labelled,
    "pretrain": lambda n: {"text": " ".join(question(k)[1] for k in range(n, n + 40))},
}


def run(root: Path, tiny: Path, objective: str, *more: str, processes: int = 2) -> Done:
    """Train an objective for four steps of eight samples, with a checkpoint after each second."""
    root.parent.mkdir(parents=True, exist_ok=True)
    rows = write_jsonl(root.parent / f"{objective}.jsonl", [ROWS[objective](n) for n in range(32)])
    overrides = [*short(tiny, rows, steps=4), "checkpoints.every_steps=2", *more]
    folder = make_run(root, overrides, per_node=processes, base=objective)
    return Done(folder, launch(folder, processes))


def resumed(done: Done, root: Path, processes: int = 2) -> RunFolder:
    """Go on from a run's second step, in a copy of it."""
    shutil.copytree(done.folder.root, root)
    folder = RunFolder(root)
    shutil.rmtree(folder.checkpoints / "step-4")
    shutil.rmtree(folder.final)
    folder.events.unlink()
    outcome = launch(folder, processes)
    assert outcome.code == 0, outcome.said
    assert "resuming from checkpoints/step-2" in outcome.out
    return folder


def recipe_of(done: Done) -> Recipe:
    return load(str(done.folder.recipe))


def same_losses(again: RunFolder, done: Done) -> None:
    first = losses(done.folder)
    assert losses(again) == pytest.approx({step: first[step] for step in (3, 4)}, rel=1e-2)


@pytest.mark.parametrize("objective", ["dpo", "kto", "reward"])
def test_an_adapter_is_trained_resumed_and_loads(
    tiny: Path, tmp_path: Path, objective: str
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from hpclaunch.train.scores import scores

    more = ["model.dtype=bfloat16"]
    if objective == "reward":  # of one dataset among several
        more += ["data.name=null", f"data.sources=[{{name: '{tmp_path}/{objective}.jsonl'}}]"]
    done = run(tmp_path / "run", tiny, objective, *more)
    assert done.outcome.code == 0, done.outcome.said
    steps = events_of(done.folder, "step")
    margin = "margin" if objective == "reward" else "rewards/margins"
    assert steps[-1]["metrics"][margin] > steps[0]["metrics"][margin]
    same_losses(resumed(done, tmp_path / "again"), done)
    base: Any = AutoModelForCausalLM
    options: dict[str, Any] = {}
    if objective == "reward":
        base, options = AutoModelForSequenceClassification, {"num_labels": 1}
        assert any("score" in name for name in adapter_of(done.folder))
        good, bad = (float(part) for part in scores(done.folder, recipe_of(done)).split()[1::2])
        assert good > bad, "it has learnt that much"
    else:
        nothing_learnt = {"dpo": math.log(2), "kto": 0.5}[objective]
        assert steps[0]["loss"] == pytest.approx(nothing_learnt, abs=1e-4), "not in bfloat16"
    plain = base.from_pretrained(tiny, dtype=torch.float32, **options)
    model = PeftModel.from_pretrained(plain, done.folder.final)
    assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.isfinite().all()


def test_a_full_fine_tune_compares_with_a_copy_or_what_it_computed_first(
    tiny: Path, tmp_path: Path
) -> None:
    whole = ("method.kind=full", "training.learning_rate=1e-4")
    copy = run(tmp_path / "copy" / "run", tiny, "dpo", *whole)
    assert copy.outcome.code == 0, copy.outcome.said
    first = run(
        tmp_path / "first" / "run", tiny, "dpo", *whole,
        "training.precompute_ref_log_probs=true", "training.per_device_train_batch_size=8",
        processes=1,
    )  # fmt: skip
    assert first.outcome.code == 0, first.outcome.said
    assert losses(first.folder) == pytest.approx(losses(copy.folder), rel=2e-2)
    assert list((first.folder.root / "reference").glob("train-*.safetensors"))
    same_losses(resumed(first, tmp_path / "again", processes=1), first)


def test_pretraining_learns_every_token_of_long_texts(tiny: Path, tmp_path: Path) -> None:
    done = run(tmp_path / "run", tiny, "pretrain", processes=1)
    assert done.outcome.code == 0, done.outcome.said
    (data,) = events_of(done.folder, "data")
    assert data["lost"] == data["cut"] == 0
    assert data["tokens"] > 32 * 64, "texts longer than a row are cut into several"
