"""What the first rank does beside its steps: RUN/phase.json, replaced as it goes on.

Before the first step: the download, the reading of data, the loading of weights; after it:
evaluations and saves. How far a phase is stands in it, where the work can be counted.
"""

from __future__ import annotations

import math

import msgspec

from hpclaunch.run.attempt import current_attempt
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.regular_file import read_regular
from hpclaunch.units import count, duration, size_of

BYTES = "B"
"""Unit of a phase that counts bytes."""
LOG_PREFIX = "progress: "
"""What the lines of the log begin with that tell a phase."""
_MOST = 1e18
"""No count or time is larger; what claims to be is damage."""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase, and how far it is."""

    name: str
    """As a person reads it: `downloading meta-llama/Llama-3.1-8B`; '' while steps are trained."""
    began: float
    """Unix seconds on the first node's clock."""
    moved: float
    """When its count last changed, or it began."""
    done: float | None = None
    """How much is done, in `unit`; None where the work cannot be counted."""
    total: float | None = None
    """How much there is to do, in `unit`; None where that is unknown."""
    unit: str = ""
    """`B` for bytes, else what is counted: `rows`, `tensors`, `batches`."""
    trains: bool = False
    """Written by a rank, after the event `start` of its attempt."""
    attempt: str = ""
    """JOB.RESTARTS; '' where Slurm does not run it."""

    @property
    def counted(self) -> bool:
        """Whether it says how far it is."""
        return self.done is not None

    @property
    def text(self) -> str:
        """Return the name and how far it is: `downloading X: 41 of 141 GB`."""
        amount = self.amount
        return f"{self.name}: {amount}" if amount else self.name

    @property
    def amount(self) -> str:
        """Return how far it is: `41 of 141 GB`, `1,200 rows`; '' where that is not counted."""
        if self.done is None:
            return ""
        if self.unit == BYTES:
            return size_of(self.done, self.total)
        of = f" of {count(self.total)}" if self.total else ""
        return f"{count(self.done)}{of} {self.unit}".rstrip()

    def line(self, now: float) -> str:
        """Return the phase in a line for the log: its amount, and for how long it has run."""
        return f"{self.text}, for {duration(max(0.0, now - self.began))}"


def write_phase(folder: RunFolder, phase: Phase) -> None:
    """Replace the run's phase. Raises OSError where it cannot be written."""
    write_atomic(folder.phase, msgspec.json.encode(phase).decode() + "\n")


def read_phase(folder: RunFolder) -> Phase | None:
    """Return the phase of the newest attempt; None where none is known, or the file is damaged."""
    try:
        found = msgspec.json.decode(read_regular(folder.phase, 1 << 16), type=Phase)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    numbers = (found.began, found.moved, found.done or 0.0, found.total or 0.0)
    if not all(math.isfinite(number) and 0 <= number < _MOST for number in numbers):
        return None
    now = current_attempt(folder)
    # An earlier attempt's, of a job that Slurm began again.
    return None if found.attempt and now and found.attempt != now else found
