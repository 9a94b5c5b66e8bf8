"""A frame as OpenMetrics: the run and its training beside the newest values of all nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from hpclaunch.diagnose.state import State
from hpclaunch.watch.frame import Frame
from monitors.exports.current import current
from monitors.exports.families import END, Family

_INFO = Family("job", "The watched run.", kind="info")
_STATE = Family("job_state", "State of the run, as in `hpclaunch status`.", kind="stateset")
_STEP = Family("job_training_step", "Steps done.")
_TOTAL = Family("job_training_steps", "Steps of the whole training.")
_LOSS = Family("job_training_loss", "Loss at the last step that logged one.")
_TOKENS = Family(
    "job_training_tokens_per_second", "Tokens of all ranks, without padding, over the last steps."
)
_SECONDS = Family("job_training_step_duration_seconds", "Median of the last steps.", "seconds")
_LEFT = Family(
    "job_training_left_seconds", "Time to the last step at the latest step time.", "seconds"
)
_STEP_AGE = Family(
    "job_training_step_age_seconds", "Time since the last step of this attempt.", "seconds"
)
_HANG = Family("job_training_hang", "1 where the ranks may hang, else 0.")
_SAVED = Family("job_training_checkpoint_step", "Step of the newest checkpoint.")
_AGE = Family("job_training_checkpoint_age_seconds", "Time since it was complete.", "seconds")
_RESTARTS = Family("job_restarts", "Attempts after the first.", kind="counter")
_ABSENT = Family("job_nodes_without_samples", "Nodes of the job that have left no sample.")


def page(frame: Frame) -> str:
    """Return the whole page. Unknown values are left out."""
    return "".join([*_run(frame), *current(frame.nodes if frame.active else ()), END])


def _run(frame: Frame) -> Iterator[str]:
    facts = [("run", frame.name), *([("job_id", frame.job_id)] if frame.job_id else [])]
    yield _INFO.head()
    yield _INFO.sample(facts, 1)
    yield _STATE.head()
    for state in get_args(State):
        yield _STATE.sample([("job_state", state)], int(state == frame.state))
    progress = frame.progress
    running = frame.state == "running"
    values = (
        (_STEP, progress.step),
        (_TOTAL, progress.total),
        (_LOSS, progress.loss),
        # Of a run that waits or has ended these would be out of date.
        (_TOKENS, progress.tokens_per_second if running else None),
        (_SECONDS, progress.seconds_per_step if running else None),
        (_LEFT, frame.seconds_left if running else None),
        (_STEP_AGE, frame.activity.step_age_s if frame.activity else None),
        (_HANG, int(bool(frame.hang)) if running else None),
        (_SAVED, progress.checkpoint),
        (_AGE, frame.checkpoint_age_s if frame.active else None),
        (_RESTARTS, progress.restarts),
        (_ABSENT, len(frame.absent) if running else None),
    )
    for family, value in values:
        if value is not None:
            yield family.head()
            yield family.sample((), value)
