"""GPU sampling in a thread of its own: a driver that never answers must not stop the rest."""

from __future__ import annotations

import threading
from collections import deque
from queue import Empty, SimpleQueue

from monitors.recorder.interfaces import DeviceError, DeviceSource
from monitors.records import GpuInfo, GpuSample


class GpuSamplerThread:
    """Samples a device source in a thread of its own, and never waits for it for long.

    NVML can block for good on a sick GPU, inside the driver, where no signal reaches. The thread
    is a daemon, so the process can end all the same.
    """

    def __init__(self, source: DeviceSource) -> None:
        self._source = source
        self._requests: SimpleQueue[int] = SimpleQueue()
        self._answers: SimpleQueue[tuple[GpuSample, ...] | None] = SimpleQueue()
        self._waiting = False
        self._reported_silent = False
        self._own_notes: deque[str] = deque()
        self._opened = threading.Event()
        self._table: tuple[GpuInfo, ...] = ()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._work, name="gpu", daemon=True)
        self._thread.start()

    @property
    def opened(self) -> bool:
        """Whether the source has listed the GPUs, or failed to."""
        return self._opened.is_set()

    @property
    def table(self) -> tuple[GpuInfo, ...]:
        """The GPUs; empty as long as they are not known."""
        return self._table

    @property
    def problem(self) -> str | None:
        """Why there is nothing to sample; None where all is well."""
        return self._problem if self.opened else "the driver has not listed the GPUs yet"

    @property
    def stuck(self) -> bool:
        """Whether the thread is held up inside the driver."""
        return not self.opened or self._waiting

    def sample(self, n: int, timeout_s: float) -> tuple[GpuSample, ...] | None:
        """Values at tick `n`, or None when they did not come within `timeout_s` seconds.

        A question still open from an earlier tick is not waited for again.
        """
        if not self._table:
            return None
        try:
            if self._waiting:
                self._answers.get_nowait()  # late, and about another second: of no use
                self._waiting = False
            self._requests.put(n)
            self._waiting = True
            answer = self._answers.get(timeout=timeout_s)
        except Empty:
            if not self._reported_silent:
                self._reported_silent = True
                self._own_notes.append("the GPUs do not answer; the host is recorded without them")
            return None
        self._waiting = False
        if self._reported_silent and answer is not None:
            self._reported_silent = False
            self._own_notes.append("the GPUs answer again")
        return answer

    def notes(self) -> tuple[str, ...]:
        """What happened since this was last called."""
        mine = [self._own_notes.popleft() for _ in range(len(self._own_notes))]
        if not self.opened:
            return tuple(mine)
        # The error that a driver reports before it hangs is what one wants to know then.
        return (*mine, *(self._source.urgent() if self._waiting else self._source.notes()))

    def _work(self) -> None:
        try:
            self._table = self._source.open()
            self._problem = None if self._table else "NVML shows no GPU"
        except DeviceError as error:
            self._problem = str(error)
        except Exception as error:  # a broken driver must not cost the host's record
            self._problem = f"{type(error).__name__}: {error}"
        self._opened.set()
        while self._table:
            n = self._requests.get()
            try:
                self._answers.put(self._source.sample(n))
            except Exception as error:
                self._own_notes.append(f"GPU sampling failed: {type(error).__name__}: {error}")
                self._table = ()
                self._answers.put(None)
