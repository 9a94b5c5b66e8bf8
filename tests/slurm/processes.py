"""Ends a cluster's processes: those in its namespace and its clients outside."""

import contextlib
import os
import subprocess
from pathlib import Path

from tests.slurm.settings import Place

STOP_SECONDS = 10.0


def close(namespace: subprocess.Popen[bytes]) -> None:
    """End the namespace: politely through its standard input, else by force."""
    assert namespace.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        namespace.stdin.close()
    try:
        namespace.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        namespace.kill()
        namespace.wait()


def clients(place: Place) -> list[int]:
    """Processes outside the namespace that still work for this cluster's jobs.

    These are waiting srun, salloc and sbatch commands and what they started. A shell in which
    somebody merely exported SLURM_CONF is none of them.
    """
    found = []
    conf = f"SLURM_CONF={place.slurm_conf}".encode()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            name = (process / "comm").read_text().strip()
            in_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
            if conf in variables and (in_job or name in {"srun", "salloc", "sbatch"}):
                found.append(int(process.name))
    return found
