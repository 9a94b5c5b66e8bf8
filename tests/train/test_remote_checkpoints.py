"""Checkpoints that are lost or damaged here are downloaded again, if their copy is complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.upload.remote import RemoteFolder
from tests.storage import BUCKET, Storage
from tests.train.conftest import Done
from tests.train.running import launch, losses
from tests.train.weights import adapter_of

pytestmark = pytest.mark.train

SHARD = "pytorch_model_fsdp_0/__1_0.safetensors"


@pytest.fixture
def lost(copied: Done, tmp_path: Path) -> RunFolder:
    """The same run on a scratch that was swept: its checkpoints and weights are gone."""
    shutil.copytree(copied.folder.root, tmp_path / "copied")
    folder = RunFolder(tmp_path / "copied")
    shutil.rmtree(folder.final)
    shutil.rmtree(folder.checkpoints)
    folder.events.unlink()
    return folder


@pytest.fixture
def six_steps(copied: Done, server: Storage) -> Iterator[None]:
    """What lies on the server as the run left it, and step 3 put there by hand."""
    before = {key: server.read(key) for key in server.files() if key.startswith("done/")}
    here = copied.folder.checkpoints / "step-3"
    for path in here.rglob("*"):
        if path.is_file():
            server.write(
                f"done/copied/checkpoints/step-3/{path.relative_to(here)}", path.read_bytes()
            )
    server.remove("done/copied/final/")
    yield
    server.remove("done/")
    for key, data in before.items():
        server.write(key, data)


def truncate(server: Storage, key: str) -> None:
    server.write(key, server.read(key)[:-1])


def leave_unfinished(server: Storage, key: str) -> None:
    server.remove(key.replace(SHARD, manifest.NAME))


@pytest.mark.usefixtures("six_steps")
@pytest.mark.parametrize("harm", [truncate, leave_unfinished])
def test_what_its_list_shows_as_damaged_is_no_copy(
    server: Storage, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Storage, str], None]
) -> None:
    """Found by names and sizes, before anything is fetched."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    folder = RemoteFolder(f"s3://{BUCKET}/done/copied")
    assert folder.listing().steps() == [3, 6]
    harm(server, f"done/copied/checkpoints/step-6/{SHARD}")
    assert folder.listing().steps() == [3]


@pytest.mark.usefixtures("six_steps")
def test_lost_checkpoints_are_downloaded_and_a_damaged_copy_is_passed_over(
    lost: RunFolder, copied: Done, server: Storage
) -> None:
    key = f"done/copied/checkpoints/step-6/{SHARD}"
    data = bytearray(server.read(key))
    data[len(data) // 2] ^= 1
    server.write(key, bytes(data))
    outcome = launch(lost, 2, 600, **server.variables)
    assert outcome.code == 0, outcome.said
    assert "step-6 cannot be had from" in outcome.out and "SHA-256 differs" in outcome.out
    assert f"fetching step-3 from s3://{BUCKET}/done/copied" in outcome.out
    assert "resuming from checkpoints/step-3" in outcome.out
    first = losses(copied.folder)
    assert losses(lost) == pytest.approx({step: first[step] for step in (4, 5, 6)}, rel=1e-3)
    assert adapter_of(lost).keys() == adapter_of(copied.folder).keys()
    assert server.whole("done/copied/checkpoints/step-6/"), "it was copied again"


@pytest.mark.usefixtures("six_steps")
def test_a_damaged_one_here_is_replaced_by_its_copy(
    copied: Done, tmp_path: Path, server: Storage
) -> None:
    shutil.copytree(copied.folder.root, tmp_path / "copied")
    folder = RunFolder(tmp_path / "copied")
    shard = folder.checkpoints / "step-6" / SHARD
    shard.write_bytes(shard.read_bytes()[:-1])
    outcome = launch(folder, 2, 600, **server.variables)
    assert outcome.code == 0, outcome.said
    assert f"step-6 cannot be resumed from: {SHARD}" in outcome.out
    assert "resuming from checkpoints/step-6" in outcome.out
    assert manifest.find_damage(folder.checkpoints / "step-6") is None
