"""Context parallelism on CPU ranks: the same losses and weights as without, and what is refused.

Sums are taken in another order, in float32: losses agree to 1e-4, weights after six steps of a
large learning rate to 1e-3.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.parallel import FAMILIES
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import context_parallel
from tests.train.conftest import Done, short, train
from tests.train.running import events_of, launch, losses, make_run

pytestmark = pytest.mark.train

LOSS, WEIGHT = 1e-4, 1e-3
TWO = "fsdp.context_parallel=2"


def overrides(tiny: Path, rows: Path, *more: str) -> list[str]:
    """Return a float32 run over rows of unequal lengths, some of them held out."""
    return [
        *short(tiny, rows),
        "model.dtype=float32",
        "training.packing=false",
        "training.lr_scheduler_type=linear",
        "training.learning_rate=1e-3",
        *more,
    ]


def weights(folder: RunFolder) -> dict[str, Any]:
    """Return the final weights of a run, adapter or model."""
    (found,) = folder.final.glob("*.safetensors")
    return dict(load_file(found))


def assert_same_training(done: Done, reference: Done) -> None:
    """Compare losses, tokens, evaluations and final weights of two runs."""
    assert done.outcome.code == 0, done.outcome.said
    assert reference.outcome.code == 0, reference.outcome.said
    assert losses(done.folder) == pytest.approx(losses(reference.folder), abs=LOSS)
    for kind, key in (("step", "tokens"), ("eval", "loss")):
        values = [event[key] for event in events_of(done.folder, kind)]
        assert values == pytest.approx(
            [event[key] for event in events_of(reference.folder, kind)], abs=LOSS
        )
    ours, theirs = weights(done.folder), weights(reference.folder)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.shape == theirs[name].shape
        assert float((tensor - theirs[name]).abs().max()) < WEIGHT, name


EVALUATED = (
    "data.validation_fraction=0.25",
    "training.eval_strategy=steps",
    "training.eval_steps=3",
)


@pytest.fixture(scope="module")
def plain_lora(tmp_path_factory: pytest.TempPathFactory, tiny: Path, rows: Path) -> Done:
    """Return a LoRA run on one rank, without context parallelism."""
    root = tmp_path_factory.mktemp("context") / "plain"
    return train(root, overrides(tiny, rows, *EVALUATED), processes=1)


@pytest.fixture(scope="module")
def split_lora(tmp_path_factory: pytest.TempPathFactory, tiny: Path, rows: Path) -> Done:
    """Return the same over two ranks that share each sequence."""
    root = tmp_path_factory.mktemp("context") / "split"
    return train(root, overrides(tiny, rows, *EVALUATED, TWO))


def test_trains_as_one_rank_does(plain_lora: Done, split_lora: Done) -> None:
    """Losses, evaluations and final weights agree, and so does what is counted."""
    assert_same_training(split_lora, plain_lora)
    assert "manually" not in split_lora.outcome.said


def test_a_full_fine_tune_beside_data_parallelism(tmp_path: Path, tiny: Path, rows: Path) -> None:
    """Four ranks: two groups with rows of their own, of two ranks that share each sequence."""
    full = overrides(tiny, rows, "method.kind=full")
    reference = train(tmp_path / "two", full)
    assert_same_training(train(tmp_path / "four", [*full, TWO], processes=4), reference)


def test_resumes_bit_for_bit(split_lora: Done, tmp_path: Path, tiny: Path, rows: Path) -> None:
    """A run that stops after three steps and goes on ends with the same weights."""
    again = train(tmp_path / "again", overrides(tiny, rows, *EVALUATED, TWO))
    checkpoints = sorted(again.folder.checkpoints.glob("step-*"))
    assert [each.name for each in checkpoints] == ["step-3", "step-6"]
    shutil.rmtree(checkpoints[-1])
    shutil.rmtree(again.folder.final)
    outcome = launch(again.folder, 2)
    assert outcome.code == 0, outcome.said
    assert "resum" in outcome.said
    ours, theirs = weights(again.folder), weights(split_lora.folder)
    assert all(bool((tensor == theirs[name]).all()) for name, tensor in ours.items())


def test_goes_on_without_it(split_lora: Done, tmp_path: Path, tiny: Path, rows: Path) -> None:
    """One rank takes the checkpoint of two that shared each sequence."""
    shutil.copytree(split_lora.folder.checkpoints / "step-3", tmp_path / "checkpoints" / "step-3")
    alone = train(tmp_path, overrides(tiny, rows, *EVALUATED), processes=1)
    assert min(losses(alone.folder)) == 4
    later = {step: loss for step, loss in losses(split_lora.folder).items() if step > 3}
    assert losses(alone.folder) == pytest.approx(later, abs=LOSS)


def test_every_family_that_is_taken(tmp_path: Path) -> None:
    """Loss and gradients of small models over two ranks, summed, are those of one."""
    folder = make_run(tmp_path, [TWO])
    outcome = launch(folder, 2, program=("-m", "tests.train.ring"))
    assert outcome.code == 0, outcome.said
    for rank in range(2):
        found = json.loads((folder.root / f"rank-{rank}.json").read_text("utf-8"))
        assert found.keys() == FAMILIES
        assert all(max(each.values()) < 1e-5 for each in found.values()), found


def test_a_model_with_windows_is_refused_before_it_is_loaded(rows: Path, tmp_path: Path) -> None:
    """Ring attention would let every token see all before it."""
    from transformers import MistralConfig

    recipe = load("tiny", [TWO])
    with pytest.raises(UserError, match="sliding windows"):
        context_parallel.set_up(recipe, MistralConfig(sliding_window=64), "cpu")
    context_parallel.set_up(recipe, MistralConfig(sliding_window=None), "cpu")
