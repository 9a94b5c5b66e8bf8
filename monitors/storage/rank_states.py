"""What the main threads of a node's ranks did last: NODE.ranks.json beside its samples.

The samples hold the mean over a node's ranks; which of them sleeps stands here. The file is
replaced when the set of sleeping ranks changes, and at no other time.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monitors.regular_file import open_regular
from monitors.storage import filenames

RUNNING, SLEEPING, BLOCKED, STOPPED = "running", "sleeping", "disk-sleep", "stopped"
"""States, in psutil's words. `running`: not asleep for long. `disk-sleep` is uninterruptible: it
waits for a disk, a file system or a driver. `stopped`: by a signal, such as SIGSTOP."""
MOST_RANKS = 1024
MOST_BYTES = 1 << 18
_MOST = 1 << 31
_STATES = {RUNNING, SLEEPING, BLOCKED, STOPPED}
_NAME = re.compile(r"[A-Za-z0-9_.]{1,64}")


@dataclass(frozen=True, slots=True)
class RankState:
    """The main thread of one rank."""

    pid: int
    state: str
    """`running`, `sleeping`, `disk-sleep` or `stopped`."""
    rank: int | None = None
    """Global rank (RANK); None where the process was not told it."""
    local_rank: int | None = None
    """Number on its node (LOCAL_RANK)."""
    since: float | None = None
    """Unix seconds on the node's clock from which on it sleeps; None where it runs."""
    wait: str = ""
    """The kernel's function, or the system call, that it slept in when this was written; '' where
    the kernel does not say."""


@dataclass(frozen=True, slots=True)
class RankStates:
    """All ranks of one node, as they were at `wall`."""

    wall: float
    """Unix seconds on the node's clock."""
    ranks: tuple[RankState, ...]


def write_rank_states(directory: Path, node: str, states: RankStates) -> None:
    """Replace the node's file, so that a reader never sees half of it. Raises OSError."""
    path = filenames.path_of(directory, node, filenames.RANKS)
    aside = path.with_name(path.name + ".new")
    ranks = [
        {name: value for name, value in asdict(rank).items() if value not in (None, "")}
        for rank in states.ranks
    ]
    text = json.dumps({"format": 1, "wall": states.wall, "ranks": ranks}) + "\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(aside, flags, 0o666), "w") as stream:
        stream.write(text)
    aside.replace(path)


def remove_rank_states(directory: Path, node: str) -> None:
    """Remove the node's file, where there is one. Raises OSError."""
    filenames.path_of(directory, node, filenames.RANKS).unlink(missing_ok=True)


def read_rank_states(directory: Path, node: str) -> RankStates | None:
    """Return what a node's file says; None where there is none, or it is damaged.

    Never raises: the file may have been put there by somebody else.
    """
    try:
        with open_regular(filenames.path_of(directory, node, filenames.RANKS)) as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            return None
        raw = json.loads(text)
        if not isinstance(raw, dict) or not isinstance(raw["ranks"], list):
            return None
        wall = _time(raw["wall"])
        ranks = tuple(_rank(each) for each in raw["ranks"][:MOST_RANKS])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return None if wall is None else RankStates(wall, ranks)


def _rank(raw: dict[str, Any]) -> RankState:
    """Return one rank; raises ValueError, KeyError or TypeError for anything else."""
    pid, state, wait = _whole(raw["pid"]), raw["state"], raw.get("wait")
    if pid is None or state not in _STATES:
        raise ValueError("no state of a rank")
    return RankState(
        pid,
        state,
        _whole(raw.get("rank")),
        _whole(raw.get("local_rank")),
        _time(raw.get("since")),
        wait if isinstance(wait, str) and _NAME.fullmatch(wait) else "",
    )


def _whole(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST
    return value if known else None


def _time(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value < 1e12 else None
