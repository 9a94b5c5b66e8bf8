"""Stops at the end of a step, with a checkpoint: asked for by the file RUN/stop, or for time."""

from __future__ import annotations

import os
from typing import Any

from transformers import TrainerCallback

from hpclaunch.run.attempt import taken_over
from hpclaunch.run.events import log_event, read_events
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.train.distributed import DistContext, broadcast_number
from hpclaunch.train.progress_log import say
from hpclaunch.train.walltime import LIMIT, Walltime, ends, slowest_checkpoint

GO_ON, SAVE, STOP, PAUSE, LEAVE = range(5)
"""What the first rank tells all after a step. PAUSE: stop to go on in a later allocation. LEAVE: at
once, and without a trace in the folder."""

TAKEN_OVER = 3
"""Exit code of ranks whose run folder a later start of the job is at work in."""

PAUSES = {LIMIT, "preempted"}
"""Words of the stop file after which the job comes back by itself: no final weights are due."""


class StopInTime(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Decides after each step. What the first rank sees holds for all of them:

    on a shared file system two ranks may see the file a step apart, and one would wait for ever.
    """

    def __init__(self, run: RunFolder, world: DistContext) -> None:
        self.run = run
        self.world = world
        self.stopped = False
        self.paused = False
        """Stopped with more to come: the weights are not final."""
        self.why = ""
        """What the stop was asked for, on the first rank."""
        self.walltime = Walltime(ends(), slowest_checkpoint(read_events(run.events)))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Ask all ranks to save, or to save and stop."""
        self.walltime.step()
        last = state.global_step >= state.max_steps
        if last:
            control.should_log = True  # a training shorter than logging_steps has a loss too
        told = broadcast_number(self.world, self._decide() if self.world.first else GO_ON)
        if told == LEAVE:
            if self.world.first:
                say("a later start is at work in this folder: this one ends without saving")
            os._exit(TAKEN_OVER)
        if told == SAVE:
            control.should_save = True
        elif told in {STOP, PAUSE} and not self.stopped and not last:
            self.stopped, self.paused = True, told == PAUSE
            control.should_save = control.should_log = True
            control.should_training_stop = True
            if self.world.first:
                self.why = self._words() or "asked to"
                log_event(self.run.events, "stop", step=state.global_step, why=self.why)
                say(f"stopping after step {state.global_step}/{state.max_steps}: {self.why}")
        return control

    def _decide(self) -> int:
        """Look at the folder and at the clock; the stop file tells the script afterwards why."""
        if taken_over(self.run):
            return LEAVE
        if self.run.stop_request.exists():
            return PAUSE if self._words() in PAUSES else STOP
        if self.walltime.must_stop():
            write_atomic(self.run.stop_request, f"{LIMIT}\n")
            return PAUSE
        return SAVE if self.walltime.must_measure() else GO_ON

    def _words(self) -> str:
        """Return the file's own words, if it has any."""
        try:
            words = self.run.stop_request.read_text("utf-8", errors="replace").split()
        except OSError:
            words = []
        return " ".join(words)[:200]
