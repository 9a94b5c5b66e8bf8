"""Stand-ins for Slurm's commands, and a run that they speak of."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record, write_record

Commands = Callable[..., None]


def run(tmp_path: Path, **fields: object) -> tuple[RunFolder, Record]:
    folder = RunFolder(tmp_path / "run")
    folder.logs.mkdir(parents=True)
    basis: dict[str, object] = {
        "name": "run", "created": 1.0, "user": "me", "host": os.uname().nodename, "command": [],
        "mode": "sbatch", "hpclaunch": "0", "recipe": "tiny", "site": "generic", "nodes": 1,
        "processes_per_node": 1, "device": "cpu", "job_id": "7",
    }  # fmt: skip
    record = Record(**{**basis, **fields})  # type: ignore[arg-type]  # a table of the test's own
    write_record(folder, record)
    return folder, record
