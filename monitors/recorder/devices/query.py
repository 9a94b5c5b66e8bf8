"""Asking one GPU, and learning what it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from monitors.recorder.devices.binding import for_good, nv

_T = TypeVar("_T")


class DeviceQuery:
    """One GPU's handle, and what has been learnt about which questions it answers."""

    def __init__(self, index: int, handle: Any) -> None:
        self.index, self.handle = index, handle
        self.lost = False
        self._unsupported: set[str] = set()
        self._failing: set[str] = set()
        self._answered: set[str] = set()
        self._notes: list[str] = []

    def ask(self, what: str, call: Callable[..., _T], *more: Any) -> _T | None:
        """What `call` says of the GPU; None where it refuses, for now or for good."""
        if self.lost or what in self._unsupported:
            return None
        try:
            answer = call(self.handle, *more)
        except nv.NVMLError as error:
            self._refused(what, error)
            return None
        self._failing.discard(what)
        self._answered.add(what)
        return answer

    def offers(self, what: str) -> bool:
        """Whether it is worth asking."""
        return not self.lost and what not in self._unsupported

    def tell(self, text: str) -> None:
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
        elif what not in self._failing:  # may pass: ask again next tick, but tell only once
            self._failing.add(what)
            self.tell(f"{what} failed: {error}")
