"""One refresh after the other of a run: events, samples and state in one frame."""

from __future__ import annotations

import time
from dataclasses import replace

from hpclaunch.diagnose.progress import progress
from hpclaunch.diagnose.running import running_activity
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.watch.events import EventReader
from hpclaunch.watch.frame import Frame, make
from hpclaunch.watch.state import StateWatch
from hpclaunch.watch.trouble import trouble
from monitors.storage.live import Live


class Watcher:
    """Follows one run, and changes nothing of it."""

    def __init__(self, folder: RunFolder, record: Record) -> None:
        self._folder, self._record = folder, record
        self._events = EventReader(folder.events)
        self._live = Live(folder.metrics)
        self._state = StateWatch(folder, record)

    def refresh(self, wait: float | None = 0.0) -> Frame:
        """Return the run as it is now.

        `wait`: seconds to wait for Slurm's answer, where a query is under way; None: until it is
        there.
        """
        events = self._events.read()
        self._state.refresh(events, time.monotonic())
        self._state.wait(wait)
        now = time.time()
        answer, done, nodes = self._state.answer, progress(events), self._live.refresh(now)
        frame = make(
            now,
            self._record.name,
            answer,
            done,
            events,
            nodes,
            self._folder.node_names(),
            None
            if answer is None
            else running_activity(
                self._folder,
                self._record,
                replace(answer.status, progress=done),
                events,
                nodes,
                answer.resumed_at,
                now,
            ),
            next(reversed(self._folder.server_node_names()), ""),
        )
        frame = replace(frame, on_gpus=self._record.device == "gpu")
        return frame if frame.ended else replace(frame, trouble=trouble(frame))
