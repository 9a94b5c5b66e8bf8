"""Small parts: checkpoints on disk, whose failure it was, the tiny model."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import tiny_llama
from hpclaunch.train.checkpoint import folders
from hpclaunch.train.failure import collateral, one_line

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
    path = folders.move_into_place(run, 5, keep=2)
    assert folders.newest(run) == path == run.checkpoints / "step-5"


def test_the_newest_are_kept_by_number(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (8, 9, 10):
        written(run, step)
        folders.move_into_place(run, step, keep=2)
    assert [path.name for path in folders.complete(run)] == ["step-9", "step-10"]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-10", "step-9"]


def test_a_step_saved_again_replaces_the_first(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for text in ("first", "second"):
        written(run, 3, text)
        path = folders.move_into_place(run, 3, keep=1)
    assert (path / "model").read_text("utf-8") == "second"


def test_a_lost_peer_is_told_from_a_fault_of_ones_own() -> None:
    assert collateral(RuntimeError("Read error: Connection reset by peer"))
    assert not collateral(RuntimeError("CUDA out of memory"))
    assert not collateral(ValueError("connection closed"))


def test_an_error_is_one_line() -> None:
    assert one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert one_line(UserError("no such thing", "take another")) == "no such thing; take another"


def test_processes_that_build_the_tiny_model_at_once_do_not_clash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.starmap(tiny_llama.ensure, [(tiny_llama.NAMES[0], SMALL)] * 2)
    assert paths[0] == paths[1]
    names = {path.name for path in (tmp_path / "hpclaunch").iterdir()}
    assert names == {paths[0].name, paths[0].name + ".lock"}, "nothing half built is left"


def test_the_tiny_model_is_the_same_each_time(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    losses = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        losses.append(tiny_llama.build(tmp_path / name, SMALL))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    left, right = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert all(left[key].allclose(right[key], atol=1e-4) for key in left)


def test_an_unknown_builtin_model_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'builtin:tiny-llama'"):
        tiny_llama.ensure("builtin:tiny-lama")
