"""Small parts: checkpoints on disk, whose failure it was, the tiny model."""

from __future__ import annotations

import hashlib
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import tiny_llama
from hpclaunch.train.checkpoint import folders
from hpclaunch.train.failure import collateral, one_line

ROOT = Path(__file__).parents[2]

SMALL = tiny_llama.Size(vocabulary=400, hidden=32, feed_forward=64, layers=1, steps=2, batch=2)


def written(run: RunFolder, step: int, text: str = "weights") -> None:
    """Put a checkpoint where the trainer writes it."""
    folder = folders.partial_folder(run) / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model").write_text(text, "utf-8")


def test_a_checkpoint_is_there_once_it_is_whole(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert folders.newest(run) is None
    written(run, 5)
    assert folders.newest(run) is None, "half written is not there"
    path = folders.move_into_place(run, 5)
    assert folders.newest(run) == path == run.checkpoints / "step-5"


def test_the_newest_are_kept_by_number(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (8, 9, 10):
        written(run, step)
        folders.move_into_place(run, step)
        folders.remove_old(run, keep=2)
    assert [path.name for path in folders.complete(run)] == ["step-9", "step-10"]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-10", "step-9"]


def test_a_step_saved_again_replaces_the_first(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for text in ("first", "second"):
        written(run, 3, text)
        path = folders.move_into_place(run, 3)
    assert (path / "model").read_text("utf-8") == "second"


def test_a_lost_peer_is_told_from_a_fault_of_ones_own() -> None:
    assert collateral(RuntimeError("Read error: Connection reset by peer"))
    assert not collateral(RuntimeError("CUDA out of memory"))
    assert not collateral(ValueError("connection closed"))


def test_an_error_is_one_line() -> None:
    assert one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert one_line(UserError("no such thing", "take another")) == "no such thing; take another"


def test_the_tiny_model_is_the_same_each_time(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    losses = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        losses.append(tiny_llama.build(tmp_path / name, SMALL))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    left, right = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert all(left[key].allclose(right[key], atol=1e-4) for key in left)


TINY_SHA256 = "a2dc5dc9181665427732640acc582805917171b1ee396c799a5f17433aeb0a3b"


def test_the_shipped_tiny_model_is_the_one_that_was_made() -> None:
    weights = tiny_llama.folder_of() / "model.safetensors"
    assert weights.stat().st_size < 1_300_000
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == TINY_SHA256


def test_the_shipped_tiny_model_is_made_of_the_packaged_text_and_size() -> None:
    """Otherwise a change of either would not reach the model before it is made again."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shipped = tiny_llama.folder_of()
    fresh = tiny_llama.build_tokenizer(tiny_llama.passages(), tiny_llama.Size())
    tokenizer = AutoTokenizer.from_pretrained(shipped)
    assert tokenizer.get_vocab() == fresh.get_vocab()
    assert tokenizer.chat_template == fresh.chat_template
    made = tiny_llama.untrained(fresh, tiny_llama.Size()).state_dict()
    made.pop("lm_head.weight")  # the embeddings again
    held = load_file(shipped / "model.safetensors")
    assert {name: tensor.shape for name, tensor in held.items()} == {
        name: tensor.shape for name, tensor in made.items()
    }
    model = AutoModelForCausalLM.from_pretrained(shipped, dtype="float32")
    text = tokenizer(tiny_llama.passages()[0], return_tensors="pt")
    assert model(**text, labels=text["input_ids"]).loss.item() < 3.0, "it has read it"


def test_the_package_takes_the_tiny_model_along() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    for path in tiny_llama.folder_of().iterdir():
        assert any(fnmatch(path.name, pattern) for pattern in patterns), path.name


def test_an_unknown_builtin_model_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'builtin:tiny-llama'"):
        tiny_llama.folder_of("builtin:tiny-lama")
