"""Calls to NVML for one GPU; what it does not support is not called again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from monitors.recorder.devices.binding import for_good, nv

_T = TypeVar("_T")


class DeviceQuery:
    """One GPU's handle, and which calls it supports."""

    def __init__(self, index: int, handle: Any) -> None:
        self.index, self.handle = index, handle
        self.lost = False
        self._unsupported: set[str] = set()
        self._failing: set[str] = set()
        self._answered: set[str] = set()
        self._notes: list[str] = []

    def call(self, what: str, function: Callable[..., _T], *more: Any) -> _T | None:
        """Return what `function` returns for the GPU; None where it fails, for now or for good."""
        if self.lost or what in self._unsupported:
            return None
        try:
            answer = function(self.handle, *more)
        except nv.NVMLError as error:
            self._refused(what, error)
            return None
        self._failing.discard(what)
        self._answered.add(what)
        return answer

    def supports(self, what: str) -> bool:
        """Whether `what` may still be called."""
        return not self.lost and what not in self._unsupported

    def note(self, text: str) -> None:
        """Note something about this GPU."""
        self._notes.append(f"GPU {self.index}: {text}")

    def poll_errors(self) -> list[str]:
        """What was noted since this was last called."""
        taken, self._notes = self._notes, []
        return taken

    def _refused(self, what: str, error: Any) -> None:
        if error.value in (nv.NVML_ERROR_GPU_IS_LOST, nv.NVML_ERROR_RESET_REQUIRED):
            self.lost = True
            self._notes.append(f"GPU {self.index} is no longer sampled: {error}")
        elif error.value in for_good() and what not in self._answered:
            self._unsupported.add(what)
        elif what not in self._failing:  # may pass: try again next tick, but note it only once
            self._failing.add(what)
            self.note(f"{what} failed: {error}")
