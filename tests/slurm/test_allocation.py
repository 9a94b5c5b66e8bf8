"""The GPUs of an allocation, in the words of several Slurms."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.slurm.allocation import current_allocation


@pytest.mark.parametrize(
    ("words", "gpus"),
    [
        ("TresPerNode=gres:gpu:4", 4),
        ("TresPerNode=gres/gpu:a100:4", 4),
        ("TresPerNode=gres:gpu:2080ti:4", 4),
        ("TresPerNode=gres/gpu:3g.20gb:2", 2),
        ("TresPerNode=gres/gpu=8", 8),
        ("TresPerJob=gres:gpu:8", 4),
        ("TresPerTask=gres:gpu:1 NumTasks=8", 4),
        ("AllocTRES=cpu=16,node=2,gres/gpu=8,gres/gpu:a100=8", 4),
        ("TRES=cpu=16,node=2", None),
    ],
)
def test_gpus_of_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, gpus: int | None
) -> None:
    said = f"JobId=7 JobState=RUNNING NumNodes=2 NumCPUs=16 {words}"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/bash\necho '{said}'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = current_allocation({"SLURM_JOB_ID": "7"})
    assert found is not None
    assert (found.nodes, found.cpus, found.gpus) == (2, 8, gpus)


def test_an_allocation_that_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="not running"):
        current_allocation({"SLURM_JOB_ID": "7"})
    assert current_allocation({}) is None
