"""What the recording loop needs: a clock, sources of values, and a place to write to."""

from __future__ import annotations

from typing import Protocol

from monitors.records import GpuInfo, GpuSample, HostSample


class DeviceError(Exception):
    """The GPUs cannot be sampled; the message says why."""


class DeviceSource(Protocol):
    """Where GPU values come from."""

    def open(self) -> tuple[GpuInfo, ...]:
        """Find the GPUs. Raises DeviceError when there is no way to ask for them."""
        ...

    def sample(self, n: int) -> tuple[GpuSample, ...]:
        """Values of every GPU at tick `n`."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What happened to the devices since this was last called."""
        ...

    def urgent(self) -> tuple[str, ...]:
        """Of these what is known without asking a device, while `sample` may not return."""
        ...


class HostSource(Protocol):
    """Where host values come from."""

    def sample(self) -> tuple[HostSample, dict[str, int] | None]:
        """Values since the last call, and the row for vmstat (None where it cannot be filled)."""
        ...


class Clock(Protocol):
    """Time, and the wish to stop, which a waiting process learns at the same place."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def mono(self) -> float:
        """Seconds on a clock that never jumps."""
        ...

    def wait(self, seconds: float) -> str | None:
        """Sleep; returns early with the reason when asked to stop."""
        ...


class Sink(Protocol):
    """A place that takes whole pieces of text, in order."""

    def append(self, text: str) -> bool:
        """Write and flush; False when it did not work. Never raises."""
        ...

    def maybe_compact(self) -> None:
        """Take the time between two ticks to store older text smaller.

        Never raises, hardly ever waits.
        """
        ...

    @property
    def problem(self) -> str | None:
        """What went wrong inside for good; None where all is well."""
        ...

    def close(self) -> None:
        """No more text will come."""
        ...
