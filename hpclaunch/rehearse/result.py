"""The result of a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """One part of the way from a recipe to weights that load."""

    name: str
    passed: bool
    seconds: float
    result: str
    """One line: what it did; of a stage that failed, the cause."""
    advice: tuple[str, ...] = ()
    """What to do about it."""


@dataclass(frozen=True)
class Rehearsal:
    """All stages up to the first that failed."""

    stages: tuple[Stage, ...]
    missing: tuple[str, ...]
    """What of the recipe was not rehearsed."""
    folder: Path | None
    """The run folder, where it is kept."""
    seconds: float
    interrupted: bool = False

    @property
    def passed(self) -> bool:
        """True where every stage passed."""
        return not self.interrupted and all(stage.passed for stage in self.stages)
