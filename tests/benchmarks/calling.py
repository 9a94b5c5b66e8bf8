"""Calls this environment's hpclaunch, as a user would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def call(folder: Path, *words: str) -> str:
    """Run hpclaunch in `folder`; gives what it printed, and ends the program where it fails."""
    program = Path(sys.executable).with_name("hpclaunch")
    done = subprocess.run(
        [str(program), *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"hpclaunch {' '.join(words)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout
