"""Xid errors as the driver reports them: a thread stands in NVML until there is one."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from monitors.devices.binding import nv

_PATIENCE_MS = 60_000
_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Xid:
    """One error: its number in NVIDIA's catalogue, and the GPU by its handle's address."""

    number: int
    gpu: int | None


class XidWatch:
    """Hears of the Xid errors of some GPUs. No privilege is needed."""

    def __init__(self, handles: Iterable[Any]) -> None:
        self._heard: deque[Xid] = deque(maxlen=1000)
        self._watched: set[int] = set()
        self._stop = threading.Event()
        try:
            events = nv.nvmlEventSetCreate()
        except nv.NVMLError:
            return
        for handle in handles:
            try:
                nv.nvmlDeviceRegisterEvents(handle, nv.nvmlEventTypeXidCriticalError, events)
            except nv.NVMLError:  # a GPU that reports none is no problem
                continue
            self._watched.add(address(handle))
        if self._watched:
            # A daemon: it may stand in the driver when the process ends.
            threading.Thread(target=self._wait, args=(events,), name="xid", daemon=True).start()

    def watches(self, handle: Any) -> bool:
        """Whether errors of a GPU would be heard of."""
        return address(handle) in self._watched

    def take(self) -> list[Xid]:
        """What was heard since this was last called."""
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def _wait(self, events: Any) -> None:
        while not self._stop.is_set():
            try:
                event = nv.nvmlEventSetWait_v2(events, _PATIENCE_MS)
            except nv.NVMLError as error:
                if error.value in (nv.NVML_ERROR_TIMEOUT, nv.NVML_ERROR_GPU_IS_LOST):
                    # A lost GPU makes the call return at once; others may still have news.
                    self._stop.wait(0 if error.value == nv.NVML_ERROR_TIMEOUT else _PAUSE_S)
                    continue
                return
            if event.eventType & nv.nvmlEventTypeXidCriticalError:
                self._heard.append(Xid(int(event.eventData), address(event.device)))


def address(handle: Any) -> int:
    """What tells handles apart: NVML gives the same one for a GPU each time."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
