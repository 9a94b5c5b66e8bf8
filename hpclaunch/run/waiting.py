"""Checkpoints whose evaluation has not ended: RUN/evaluations/waiting/step-N. They must stay."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.regular_file import read_small_text

MOST = 3
"""Evaluations of a run that wait or run at once: each keeps a checkpoint on the disk."""
STALE_S = 900.0
"""Seconds after which a checkpoint is no longer kept for an evaluation that was never submitted."""
_STEP = re.compile(r"step-[0-9]{1,12}")


def _folder(run: RunFolder) -> Path:
    return run.evaluations / "waiting"


def waiting(run: RunFolder) -> dict[str, str]:
    """Return the checkpoints and the run that evaluates each, '' where it is not submitted yet."""
    found = {}
    with contextlib.suppress(OSError):
        for path in _folder(run).iterdir():
            if _STEP.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    found[path.name] = read_small_text(path).strip()
    return found


def is_stale(run: RunFolder, checkpoint: str) -> bool:
    """Return whether a checkpoint has waited too long for its evaluation to be submitted."""
    try:
        return time.time() - (_folder(run) / checkpoint).lstat().st_mtime > STALE_S
    except OSError:
        return True


def keep_waiting(run: RunFolder, checkpoint: str, evaluation: str = "") -> None:
    """Keep a checkpoint for the run called `evaluation`. Raises OSError."""
    _folder(run).mkdir(parents=True, exist_ok=True)
    write_atomic(_folder(run) / checkpoint, f"{evaluation}\n")


def end_waiting(run: RunFolder, checkpoint: str) -> None:
    """Let a checkpoint go: its evaluation has ended."""
    with contextlib.suppress(OSError):
        (_folder(run) / checkpoint).unlink(missing_ok=True)
