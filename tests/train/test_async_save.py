"""Checkpoints that are written while training goes on: the same ones, and as much to be trusted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import folders, manifest
from tests.train.conftest import Done, short, train
from tests.train.running import events_of, launch, losses, make_run
from tests.train.test_ends import after_two_steps
from tests.train.test_lora import same
from tests.train.weights import adapter_of, checkpoint_tensors

pytestmark = pytest.mark.train

EVERY = "checkpoints.every_steps=30"
ASYNC = "checkpoints.asynchronous=true"
WEIGHTS = "pytorch_model_fsdp_0"


@pytest.fixture(scope="module")
def async_run(tmp_path_factory: pytest.TempPathFactory, tiny: Path, rows: Path) -> Done:
    """The LoRA run of other tests, with checkpoints that are written meanwhile."""
    return train(tmp_path_factory.mktemp("runs") / "async_run", [*short(tiny, rows), ASYNC])


def test_it_holds_what_a_waiting_one_holds(async_run: Done, lora_run: Done) -> None:
    """Of the step it was begun at: the training that went on left no trace in it."""
    import torch

    assert async_run.outcome.code == 0, async_run.outcome.said
    assert [event["step"] for event in events_of(async_run.folder, "checkpoint")] == [3, 6]
    for step in ("step-3", "step-6"):
        for part in (WEIGHTS, "optimizer_0"):
            here, there = (
                checkpoint_tensors(run.folder.checkpoints / step / part)
                for run in (async_run, lora_run)
            )
            assert here.keys() == there.keys()
            assert all(torch.allclose(here[name], there[name], atol=1e-5) for name in here)
        assert manifest.find_damage(async_run.folder.checkpoints / step) is None
    assert losses(async_run.folder) == pytest.approx(losses(lora_run.folder), rel=1e-3)


def test_a_run_goes_on_from_it(async_run: Done, tmp_path: Path) -> None:
    shutil.copytree(async_run.folder.root, tmp_path / "again")
    folder = RunFolder(tmp_path / "again")
    shutil.rmtree(folder.checkpoints / "step-6")
    folder.events.unlink()
    outcome = launch(folder, 2)
    assert outcome.code == 0, outcome.said
    first = losses(async_run.folder)
    assert losses(folder) == pytest.approx({step: first[step] for step in (4, 5, 6)}, rel=1e-3)
    assert same(adapter_of(folder), adapter_of(async_run.folder))


def test_training_goes_on_meanwhile(tiny: Path, rows: Path, tmp_path: Path) -> None:
    """A disk that takes two seconds for each file costs no step those seconds."""
    folder = make_run(tmp_path / "run", [*short(tiny, rows, steps=60), EVERY, ASYNC])
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import sys, time\n"
        "from hpclaunch.train.checkpoint.storage_writer import SafetensorsWriter\n"
        "from hpclaunch.train.__main__ import main\n"
        "write = SafetensorsWriter.write_data\n"
        "def slowly(*a, **k):\n"
        "    time.sleep(2)\n"
        "    return write(*a, **k)\n"
        "SafetensorsWriter.write_data = slowly\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    outcome = launch(folder, 2, program=[str(slow)])
    assert outcome.code == 0, outcome.said
    first = events_of(folder, "checkpoint")[0]
    assert first["seconds"] > 2
    assert first["stalled"] < 1
    begun = first["time"] - first["seconds"]
    meanwhile = [m for m in events_of(folder, "step") if begun + 0.5 < m["time"] < first["time"]]
    assert meanwhile, "steps were done while it was written"
    assert [event["step"] for event in events_of(folder, "step")] == list(range(1, 61))
    newest = folders.newest(folder)
    assert newest is not None and newest.name == "step-60", "the last one was waited for"
    assert manifest.find_damage(newest) is None


def test_a_full_disk_costs_that_checkpoint_only(
    small_disk: Path, tiny: Path, rows: Path, lora_run: Done
) -> None:
    folder = make_run(small_disk, [*short(tiny, rows), ASYNC])
    outcome = launch(folder, 2)
    assert outcome.code == 0, outcome.said
    (kept,) = events_of(folder, "checkpoint")
    (failed,) = events_of(folder, "checkpoint failed")
    assert (kept["step"], failed["step"]) == (3, 6)
    assert "No space left" in failed["why"] or "the disk has" in failed["why"]
    assert [path.name for path in folder.checkpoints.iterdir()] == ["step-3"]
    assert manifest.find_damage(folder.checkpoints / "step-3") is None
    assert losses(folder) == pytest.approx(losses(lora_run.folder), rel=1e-3)


def test_a_disk_that_fills_up_while_it_is_written(small_disk: Path, tiny: Path, rows: Path) -> None:
    """Nothing shows before: the writing itself fails, in the background."""
    subprocess.run(
        ["mount", "-o", "remount,size=300k", str(small_disk / "checkpoints")], check=True
    )
    folder = make_run(small_disk, [*short(tiny, rows), ASYNC])
    outcome = launch(folder, 2)
    assert outcome.code == 0, outcome.said
    assert [event["step"] for event in events_of(folder, "checkpoint failed")] == [3, 6]
    assert "there is none" in outcome.out
    assert list(folder.checkpoints.iterdir()) == []
    assert adapter_of(folder)


def test_a_stop_waits_for_it(tiny: Path, rows: Path, tmp_path: Path) -> None:
    overrides = [*short(tiny, rows, steps=300), "checkpoints.every_steps=0", ASYNC]
    folder = make_run(tmp_path / "run", overrides)
    ask = f"pathlib.Path({str(folder.stop_request)!r}).write_text('preempted')"
    path = after_two_steps(tmp_path / "site", folder.events, 0, ask)
    outcome = launch(folder, 2, PYTHONPATH=path)
    assert outcome.code == 0, outcome.said
    (stop,) = events_of(folder, "stop")
    assert manifest.find_damage(folder.checkpoints / f"step-{stop['step']}") is None
    assert not folder.final.exists(), "to go on later"


def test_without_ranks_it_is_written_as_ever(tiny: Path, rows: Path, tmp_path: Path) -> None:
    overrides = [*short(tiny, rows), "fsdp.sharding=none", ASYNC]
    done = train(tmp_path / "alone", overrides, processes=1)
    assert done.outcome.code == 0, done.outcome.said
    assert "checkpoints are written while training waits" in done.outcome.out
    assert len(events_of(done.folder, "checkpoint")) == 2
