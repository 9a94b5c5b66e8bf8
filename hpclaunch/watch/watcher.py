"""One look after the other at a run: marks, samples and state, put together."""

from __future__ import annotations

import time
from dataclasses import replace

from hpclaunch.diagnose.progress import progress
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.watch.events import EventReader
from hpclaunch.watch.frame import Frame, make
from hpclaunch.watch.state import StateWatch
from hpclaunch.watch.trouble import trouble
from monitors.storage.live import Live


class Watcher:
    """Keeps up with one run. Changes nothing of it."""

    def __init__(self, folder: RunFolder, record: Record) -> None:
        self._folder, self._record = folder, record
        self._marks = EventReader(folder.events)
        self._live = Live(folder.metrics)
        self._state = StateWatch(folder, record)

    def look(self, wait: float | None = 0.0) -> Frame:
        """Look now; waits so many seconds (None: for good) for the state where that is asked."""
        marks = self._marks.read()
        self._state.refresh(marks, time.monotonic())
        self._state.wait(wait)
        now = time.time()
        frame = make(
            now,
            self._record.name,
            self._state.told,
            progress(marks),
            marks,
            self._live.look(now),
            self._folder.node_names(),
            bool(self._record.program),
        )
        frame = replace(frame, on_gpus=self._record.device == "gpu")
        return frame if frame.ended else replace(frame, trouble=trouble(frame))
