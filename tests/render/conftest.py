"""What the scripts' tests share: a run folder."""

from pathlib import Path

import pytest

from hpclaunch.run.folder import RunFolder
from tests.render.shell import stand_in


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder, and beside it a folder `bin` for stand-ins, with a squeue that knows no job."""
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path, "squeue", "exit 1")
    stand_in(tmp_path, "scontrol", "echo n1; echo n2")
    run = RunFolder(tmp_path / "run")
    run.logs.mkdir(parents=True)
    return run
