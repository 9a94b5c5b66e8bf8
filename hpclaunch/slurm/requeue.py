"""Slurm's commands by which a job goes back into the queue, and around nodes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from hpclaunch.slurm.batch import sbatch
from hpclaunch.slurm.commands import ASK_TIMEOUT, RETRY_PAUSE_S, ask, plain, words


def test_without(script: str, cwd: Path, nodes: Sequence[str]) -> str | None:
    """Say, in Slurm's words, why a script could not start without these nodes; None: it could."""
    done = sbatch(["--test-only", f"--exclude={','.join(nodes)}"], cwd, script)
    return None if done.returncode == 0 else words(done.stderr)


def requeue(job: str) -> bool:
    """Put a running job back into the queue; False where Slurm refuses twice, as it says itself."""
    if _accepted("scontrol", "requeue", job):
        return True
    time.sleep(RETRY_PAUSE_S)  # a busy controller refuses some
    return _accepted("scontrol", "requeue", job)


def leave_out(job: str, nodes: Sequence[str]) -> bool:
    """Have a waiting job leave nodes out, and no others; False where Slurm refuses."""
    return _accepted("scontrol", "update", f"JobId={job}", f"ExcNodeList={','.join(nodes)}")


def _accepted(*argv: str) -> bool:
    """Run a command that changes something; Slurm's words go to stderr."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            env=plain(os.environ),
            timeout=ASK_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def nodes_down() -> set[str]:
    """Return the nodes that Slurm holds to be down or does not reach."""
    rows = ask("sinfo", "--noheader", "--Node", "--format=%N|%T").splitlines()
    pairs = (row.split("|") for row in rows if row.count("|") == 1)
    return {name for name, state in pairs if state.endswith("*") or state.startswith("down")}
