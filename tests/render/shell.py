"""Runs launch.sh and node.sh by themselves, with stand-ins for Slurm's commands on PATH."""

import subprocess
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from tests.render.standins import write_script

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NODEID": "1"}


def stand_in(place: Path, name: str, body: str) -> None:
    (place / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
    (place / "bin" / name).chmod(0o755)


def run_script(
    folder: RunFolder, lines: str, mode: str = "slurm", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run lines of a job's script after launch.sh was sourced."""
    write_script(folder, f'source "$HPCLAUNCH_RUN/launch.sh" {mode}\n{lines}\n')
    return in_folder(folder, ["bash", str(folder.script)], **variables)


def in_folder(
    folder: RunFolder, argv: list[str], **variables: str
) -> subprocess.CompletedProcess[str]:
    path = f"{folder.root.parent}/bin:/usr/bin:/bin"
    environment = {"PATH": path, "HPCLAUNCH_RUN": str(folder.root), **JOB, **variables}
    return subprocess.run(
        argv, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
