"""The result of a rehearsal."""

from __future__ import annotations

from pathlib import Path

from hpclaunch.frozen import frozen


@frozen
class Stage:
    """One part of the way from a recipe to weights that load."""

    name: str
    passed: bool
    seconds: float
    result: str
    """One line: what it did; of a stage that failed, the cause."""
    advice: tuple[str, ...] = ()
    """What to do about it."""


@frozen
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
