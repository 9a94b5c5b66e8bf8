"""What a run writes is readable by whom the user's umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpclaunch.run.folder import write_atomic
from hpclaunch.run.permissions import apply_umask, umask


@pytest.fixture(params=[0o022, 0o002, 0o077])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_scripts(mask: int, tmp_path: Path) -> None:
    assert umask() == mask
    write_atomic(tmp_path / "file", "")
    write_atomic(tmp_path / "script", "", mode=0o777)
    assert mode(tmp_path / "file") == 0o666 & ~mask
    assert mode(tmp_path / "script") == 0o777 & ~mask


def test_weights_that_a_library_wrote_for_their_owner_alone(mask: int, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    weights = tmp_path / "inner/model.safetensors"
    weights.touch(0o600)
    (tmp_path / "config.json").touch(0o644)
    (tmp_path / "gone").symlink_to("nowhere")
    apply_umask(tmp_path)
    assert mode(weights) == mode(tmp_path / "config.json") == 0o666 & ~mask
