"""Checkpoints to trust: damage is found, the one before is taken, a full disk costs one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import folders, manifest
from tests.train.conftest import Done, short
from tests.train.running import events_of, launch, losses, make_run
from tests.train.weights import adapter_of

pytestmark = pytest.mark.train

SHARD = "pytorch_model_fsdp_0/__1_0.safetensors"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(text)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.fixture
def stopped(lora_run: Done, tmp_path: Path) -> RunFolder:
    """A copy of a run with checkpoints of step 3 and 6, as if it had been killed after them."""
    root = tmp_path / "again"
    shutil.copytree(lora_run.folder.root, root)
    folder = RunFolder(root)
    shutil.rmtree(folder.final)
    return folder


def test_a_manifest_names_every_file(lora_run: Done) -> None:
    for checkpoint in folders.complete(lora_run.folder):
        found = manifest.read(checkpoint)
        assert found is not None
        facts, parts = found
        there = {str(p.relative_to(checkpoint)) for p in checkpoint.rglob("*") if p.is_file()}
        assert set(parts) == there - {manifest.NAME}
        assert facts["step"] == folders.step_of(checkpoint)
        assert facts["ranks"] == 2
        assert facts["versions"]["torch"]
        assert manifest.find_damage(checkpoint) is None


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (truncate, "bytes instead of"),
        (flip, "SHA-256 differs"),
        (empty, "has 0 bytes"),
        (Path.unlink, "is missing"),
    ],
)
@pytest.mark.parametrize("name", [SHARD, "optimizer_0/dcp.json", "rng_state_1.json"])
def test_harm_to_any_file_is_found(
    stopped: RunFolder, harm: Callable[[Path], None], said: str, name: str
) -> None:
    checkpoint = stopped.checkpoints / "step-6"
    harm(checkpoint / name)
    # Whichever of several ranks it falls to, one of them finds it.
    found = [manifest.find_damage(checkpoint, rank, 3) for rank in range(3)]
    assert any(each is not None and name in each and said in each for each in found)
    assert manifest.find_damage(stopped.checkpoints / "step-3") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": {"a": 1}}'])
def test_a_damaged_manifest(stopped: RunFolder, text: str) -> None:
    (stopped.checkpoints / "step-6" / manifest.NAME).write_text(text)
    assert (
        manifest.find_damage(stopped.checkpoints / "step-6")
        == "manifest.json is missing or damaged"
    )


def test_a_damaged_newest_is_passed_over(stopped: RunFolder, lora_run: Done) -> None:
    flip(stopped.checkpoints / "step-6" / SHARD)
    stopped.events.unlink()
    outcome = launch(stopped, 2)
    assert outcome.code == 0, outcome.said
    assert f"step-6 cannot be resumed from: {SHARD}" in outcome.out
    assert "resuming from checkpoints/step-3" in outcome.out
    (damaged,) = events_of(stopped, "checkpoint damaged")
    assert damaged["path"] == "step-6"
    first = losses(lora_run.folder)
    assert losses(stopped) == pytest.approx({step: first[step] for step in (4, 5, 6)}, rel=1e-3)
    assert manifest.find_damage(stopped.checkpoints / "step-6") is None, "it was written again"


def test_no_whole_checkpoint_is_no_silent_new_start(stopped: RunFolder) -> None:
    for step in (3, 6):
        truncate(stopped.checkpoints / f"step-{step}" / SHARD)
    before = sorted(stopped.checkpoints.rglob("*"))
    outcome = launch(stopped, 2)
    assert outcome.code != 0
    assert "none of the checkpoints" in outcome.said
    assert "remove or rename that folder" in outcome.said
    assert sorted(stopped.checkpoints.rglob("*")) == before
    assert not stopped.final.exists()


def test_a_full_disk_costs_that_checkpoint_only(
    small_disk: Path, tiny: Path, rows: Path, lora_run: Done
) -> None:
    folder = make_run(small_disk, short(tiny, rows))
    outcome = launch(folder, 2)
    assert outcome.code == 0, outcome.said
    (kept,) = events_of(folder, "checkpoint")
    (failed,) = events_of(folder, "checkpoint failed")
    assert (kept["step"], failed["step"]) == (3, 6)
    assert "step 6: no checkpoint: " in outcome.out
    assert "No space left" in failed["why"] or "the disk has" in failed["why"]
    assert "step-3 stays the newest" in outcome.out
    assert [path.name for path in folder.checkpoints.iterdir()] == ["step-3"]
    assert manifest.find_damage(folder.checkpoints / "step-3") is None
    # The training itself lost nothing.
    assert losses(folder) == pytest.approx(losses(lora_run.folder), rel=1e-3)
    assert adapter_of(folder).keys() == adapter_of(lora_run.folder).keys()


def test_a_checkpoint_without_its_weights_is_not_kept(
    tmp_path: Path, tiny: Path, rows: Path
) -> None:
    """As sharded saves have written them: a folder in order, and nothing learnt in it."""
    folder = make_run(tmp_path / "hollow", short(tiny, rows))
    program = tmp_path / "hollow.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "import accelerate.utils\n"
        "from hpclaunch.train.__main__ import main\n"
        "def hollow(plugin, accelerator, model, folder, *_, **__):\n"
        "    place = Path(folder) / 'pytorch_model_fsdp_0'\n"
        "    place.mkdir(parents=True, exist_ok=True)\n"
        "    (place / f'__{accelerator.process_index}_0.safetensors').write_bytes(b'empty')\n"
        "accelerate.utils.save_fsdp_model = hollow\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    outcome = launch(folder, 2, program=[str(program)])
    assert outcome.code == 0, outcome.said
    assert folders.complete(folder) == []
    assert len(events_of(folder, "checkpoint failed")) == 2
    assert "bytes of weights where" in outcome.out
    assert (folder.final / "adapter_model.safetensors").is_file()
