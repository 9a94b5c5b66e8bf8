"""What an answer to `why` consists of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hpclaunch.frozen import frozen
from hpclaunch.secrets import mask


@frozen
class Clue:
    """A line somewhere that shows it."""

    text: str
    file: Path | None = None
    line: int | None = None
    """Counted from 1; None where the place in the file is not known."""
    time: str = ""
    """As the line or its file says it; '' where neither does."""
    node: int | None = None
    """Number of the node within the job that said it."""
    local_rank: int | None = None


@frozen
class Cause:
    """Why a run is where it is."""

    headline: str
    """One line, without the rank and host, which stand in their own fields."""
    advice: tuple[str, ...] = ()
    """What to do next, the best first; commands and options as they are typed."""
    evidence: tuple[Clue, ...] = ()
    rank: int | None = None
    """Global rank that it began with."""
    host: str | None = None
    kind: str = ""
    """What a script goes by: `gpu-memory`, `time-limit`, ...; from the registry, not from rules."""

    @property
    def who(self) -> str:
        """Return where it began: `rank 3 on node2`, or ''."""
        parts = [f"rank {self.rank}"] if self.rank is not None else []
        parts += [f"on {self.host}" if parts else self.host] if self.host else []
        return " ".join(parts)

    @property
    def line(self) -> str:
        """Return the headline with who it is about."""
        return f"{self.who}: {self.headline}" if self.who else self.headline


def masked(cause: Cause) -> Cause:
    """Return a cause without the secrets that a program printed into its log."""
    return replace(
        cause,
        headline=mask(cause.headline),
        advice=tuple(mask(step) for step in cause.advice),
        evidence=tuple(replace(clue, text=mask(clue.text)) for clue in cause.evidence),
    )


@frozen
class Diagnosis:
    """The whole answer."""

    name: str
    state: str
    folder: Path
    cause: Cause
    also: tuple[Cause, ...] = ()
    """Other things that were seen: most are consequences of the cause."""
    notes: tuple[str, ...] = ()
    """What is worth knowing and is no cause."""
