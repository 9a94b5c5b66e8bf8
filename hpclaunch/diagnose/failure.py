"""The first failure in one line, as `status` and the end of `--wait` show it."""

from __future__ import annotations

from pathlib import Path

from hpclaunch.frozen import frozen


@frozen
class Failure:
    """Why a run ended before its time."""

    error: str
    """One line: the cause, or the exception of the rank that failed first."""
    rank: int | None = None
    """Global rank; None where only a node, or nothing, is known."""
    host: str | None = None
    file: Path | None = None
    """Where to read more."""
