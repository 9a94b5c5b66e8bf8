"""What several files of tests put in place of Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.slurm import commands as slurm
from tests.slurm.stand_ins import Commands


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Put stand-ins for Slurm's commands on PATH: `commands(squeue="echo ...")`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(slurm, "RETRY_PAUSE_S", 0.0)

    def put(**scripts: str) -> None:
        for name in ("sbatch", "squeue", "scontrol", "sacct", "scancel", "sinfo"):
            path = folder / name
            path.write_text(f"#!/bin/bash\n{scripts.get(name, 'exit 1')}\n")
            path.chmod(0o755)

    return put
