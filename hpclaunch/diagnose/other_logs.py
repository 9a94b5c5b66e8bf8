"""What stands in logs beside the job's: NCCL's own, and the sidecars'."""

from __future__ import annotations

from pathlib import Path

from hpclaunch.diagnose.cause import Clue
from hpclaunch.diagnose.log import tidy, time_in
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.regular_file import read_end

NCCL_FILES = 64
NCCL_END = 2**16
"""Bytes read from the end of each of NCCL's own logs."""


def nccl_warnings(folder: RunFolder) -> tuple[Clue, ...]:
    """Return the last warning in each of NCCL's own logs."""
    found = []
    for file in sorted(folder.logs.glob("nccl-*.log"))[:NCCL_FILES]:
        text = _end(file, NCCL_END)
        at = text.rfind(b"NCCL WARN")
        if at >= 0:
            begin, stop = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
            raw = text[begin : len(text) if stop < 0 else stop][:1000]
            line = tidy(raw.decode("utf-8", errors="replace"))
            found.append(Clue(line, file, None, time_in(line)))
    return tuple(found)


def sidecar_errors(folder: RunFolder) -> tuple[Clue, ...]:
    """Return what the sidecars complained of; how Slurm ended them is no complaint."""
    file = folder.logs / "sidecar.log"
    lines = _end(file, 2**14).decode("utf-8", errors="replace").splitlines()
    return tuple(Clue(tidy(line), file) for line in lines if "sidecar: " in line)[:3]


def _end(file: Path, size: int) -> bytes:
    try:
        return read_end(file, size)[0]
    except OSError:
        return b""
