"""Stops training after a step, with a checkpoint: on request (the file RUN/stop) or for time."""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Any

from transformers import TrainerCallback

from hpclaunch.run.attempt import taken_over
from hpclaunch.run.events import log_event, read_events
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.stop_timing import INTERRUPTED, TEST_RUN
from hpclaunch.train.distributed import DistContext, broadcast_number
from hpclaunch.train.progress_log import log_line
from hpclaunch.train.walltime import TIME_LIMIT, Walltime, allocation_end, slowest_checkpoint

EXIT_TAKEN_OVER = 3
"""Exit code of ranks whose run folder is in use by a later attempt of the job."""

PREEMPTED = "preempted"
"""Text of the stop file after a preemption's notice."""

PAUSE_REASONS = {TIME_LIMIT, PREEMPTED, INTERRUPTED, TEST_RUN}
"""Texts of the stop file after which the run is to go on later: no final weights are due."""


class Decision(IntEnum):
    """What the main process decides after a step, for all ranks."""

    CONTINUE = 0
    SAVE = 1
    STOP = 2
    PAUSE = 3
    """Stop, and resume in a later attempt."""
    EXIT = 4
    """At once, without writing anything into the folder."""


class StopInTime(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Decides after each step whether to save or stop. The main process decides for all ranks.

    On a shared file system two ranks may see the stop file a step apart; one would wait forever.
    """

    def __init__(self, run: RunFolder, context: DistContext) -> None:
        self.run = run
        self.context = context
        self.stopped = False
        self.paused = False
        """Stopped to resume in a later attempt: the weights are not final."""
        self.reason = ""
        """Why it stopped, on the main process."""
        self.walltime = Walltime(allocation_end(), slowest_checkpoint(read_events(run.events)))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Have all ranks save, or save and stop."""
        self.walltime.step_ended()
        last = state.global_step >= state.max_steps
        if last:
            control.should_log = True  # a training shorter than logging_steps has a loss too
        decision = broadcast_number(
            self.context, self._decide() if self.context.is_main_process else Decision.CONTINUE
        )
        if decision == Decision.EXIT:
            if self.context.is_main_process:
                log_line("a later attempt uses this folder: this one ends without saving")
            os._exit(EXIT_TAKEN_OVER)
        if decision == Decision.SAVE:
            control.should_save = True
        elif decision in {Decision.STOP, Decision.PAUSE} and not self.stopped and not last:
            self.stopped, self.paused = True, decision == Decision.PAUSE
            control.should_save = control.should_log = True
            control.should_training_stop = True
            if self.context.is_main_process:
                self.reason = self._requested_reason() or "asked to"
                log_event(self.run.events, "stop", step=state.global_step, why=self.reason)
                log_line(
                    f"stopping after step {state.global_step}/{state.max_steps}: {self.reason}"
                )
        return control

    def _decide(self) -> Decision:
        """Check the folder and the clock; the stop file tells the job's script the reason."""
        if taken_over(self.run):
            return Decision.EXIT
        if self.run.stop_request.exists():
            return Decision.PAUSE if self._requested_reason() in PAUSE_REASONS else Decision.STOP
        if self.walltime.must_stop():
            write_atomic(self.run.stop_request, f"{TIME_LIMIT}\n")
            return Decision.PAUSE
        return Decision.SAVE if self.walltime.must_measure() else Decision.CONTINUE

    def _requested_reason(self) -> str:
        """Return the text of the stop file in one line, '' without one."""
        try:
            words = self.run.stop_request.read_text("utf-8", errors="replace").split()
        except OSError:
            words = []
        return " ".join(words)[:200]
