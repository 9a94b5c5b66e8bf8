"""Xid errors as the driver reports them: a thread stands in NVML until there is one."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from monitors.recorder.devices.binding import nv, text

_PATIENCE_MS = 60_000
_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Xid:
    """One error: its number in NVIDIA's catalogue, and the GPU by its handle's address."""

    number: int
    gpu: int | None
    """None where it is none of those that are watched."""


class XidWatch:
    """Hears of the Xid errors of some GPUs. No privilege is needed.

    Only its own thread calls NVML: on a GPU that fails, that can take for ever.
    """

    def __init__(self, handles: Iterable[Any]) -> None:
        self._heard: deque[Xid] = deque(maxlen=1000)
        self._watched: dict[int, str | None] = {}
        self.failed = False
        """Whether NVML lets errors no longer be waited for: their number is unknown then."""
        try:
            events = nv.nvmlEventSetCreate()
        except nv.NVMLError:
            return
        for handle in handles:
            try:
                nv.nvmlDeviceRegisterEvents(handle, nv.nvmlEventTypeXidCriticalError, events)
            except nv.NVMLError:  # a GPU that reports none is no problem
                continue
            self._watched[address(handle)] = _uuid(handle)
        if self._watched:
            # A daemon: it may stand in the driver when the process ends.
            threading.Thread(target=self._wait, args=(events,), name="xid", daemon=True).start()

    def watches(self, handle: Any) -> bool:
        """Whether errors of a GPU are watched."""
        return address(handle) in self._watched

    def take(self) -> list[Xid]:
        """Return what happened since this was last called."""
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def _wait(self, events: Any) -> None:
        while not self.failed:
            try:
                event = nv.nvmlEventSetWait_v2(events, _PATIENCE_MS)
            except nv.NVMLError as error:
                if error.value == nv.NVML_ERROR_GPU_IS_LOST:
                    time.sleep(_PAUSE_S)  # it returns at once now; other GPUs may still have news
                elif error.value != nv.NVML_ERROR_TIMEOUT:
                    self.failed = True
                continue
            if event.eventType & nv.nvmlEventTypeXidCriticalError:
                self._heard.append(Xid(int(event.eventData), self._gpu(event.device)))

    def _gpu(self, handle: Any) -> int | None:
        """Which of the GPUs a handle is of; it need not be the one that was handed out before."""
        if address(handle) in self._watched:
            return address(handle)
        uuid = _uuid(handle)
        same = (known for known, its in self._watched.items() if uuid is not None and its == uuid)
        return next(same, None)


def address(handle: Any) -> int:
    """What tells handles apart."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def _uuid(handle: Any) -> str | None:
    try:
        return text(nv.nvmlDeviceGetUUID(handle))
    except nv.NVMLError:
        return None
