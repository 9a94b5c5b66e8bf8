"""How far a run has come, from the events its first rank leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpclaunch.frozen import frozen
from hpclaunch.run.events import newest
from hpclaunch.run.objective_metrics import in_words, metrics_in
from hpclaunch.secrets import mask

RECENT = 20
"""Steps that a step time is averaged over: enough to be steady, few enough to show a change."""

MOST = 1e18
"""No count or time here is larger; what claims to be is damage."""


@frozen
class Progress:
    """Numbers of the training so far; None is not known, or not yet."""

    step: int | None = None
    total: int | None = None
    loss: float | None = None
    first_loss: float | None = None
    metrics: str = ""
    """The objective's own metrics of the last step, in words; empty where it has none."""
    seconds_per_step: float | None = None
    """Median of the last steps."""
    tokens_per_second: float | None = None
    """All ranks together, without padding, over the last steps."""
    trainable: int | None = None
    """Trained parameters over all ranks."""
    parameters: int | None = None
    eval_loss: float | None = None
    """Of the newest evaluation."""
    eval_step: int | None = None
    """Step of that evaluation."""
    best_step: int | None = None
    """Step of the checkpoint with the lowest evaluation loss (`checkpoints.best`)."""
    best_eval_loss: float | None = None
    """Its evaluation loss."""
    final_step: int | None = None
    """Step whose weights are final, where `checkpoints.best` chose them."""
    best_problem: str = ""
    """Why the stage that takes the checkpoint with the best score was not submitted."""
    checkpoint: int | None = None
    """Step of the newest checkpoint."""
    synced: int | None = None
    """Step of the newest checkpoint that was copied to `checkpoints.sync_to`."""
    synced_to: str | None = None
    """Where the newest copy lies, of a checkpoint or of the final weights."""
    sync_error: str | None = None
    """Why nothing has arrived there since."""
    allocated: int | None = None
    """Most bytes of tensors on the fullest GPU in a step, of the newest attempt that has ended."""
    reserved: int | None = None
    """Most bytes that the allocator held there in a step."""
    loading_allocated: int | None = None
    """Most bytes of tensors on a GPU before the first step."""
    restarts: int = 0
    """Attempts after the first."""
    outcome: str | None = None
    """`done` or `stopped` once the training has ended."""

    @property
    def peak_allocated(self) -> int | None:
        """Most bytes of tensors on a GPU, while loading or in a step."""
        peaks = (self.allocated, self.loading_allocated)
        return max((peak for peak in peaks if peak is not None), default=None)

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the last step at this step time."""
        if self.step is None or self.total is None or self.seconds_per_step is None:
            return None
        return max(0, self.total - self.step) * self.seconds_per_step


def progress(events: Sequence[Mapping[str, Any]]) -> Progress:
    """Return the progress that the events of a run show."""
    listed = [dict(event) for event in events]
    steps = [event for event in listed if event["event"] == "step"]
    losses = [loss for event in steps if (loss := _number(event.get("loss"))) is not None]
    recent = steps[-RECENT:]
    step_times_s = sorted(_step_times(steps)[-RECENT:])
    seconds = [s for event in recent if (s := _number(event.get("seconds")))]
    tokens = [t for event in recent if (t := _number(event.get("tokens"))) is not None]
    last = steps[-1] if steps else {}
    own = last.get("metrics")
    load = newest(listed, "load") or {}
    checkpoint = newest(listed, "checkpoint") or {}
    evaluation = newest(listed, "eval") or {}
    best = newest(listed, "best") or {}
    memory = newest(listed, "memory") or {}
    copies = [event for event in listed if event["event"] in {"synced", "sync failed"}]
    arrived = newest([event for event in copies if _whole(event.get("step")) is not None], "synced")
    failed = copies[-1] if copies and copies[-1]["event"] == "sync failed" else {}
    starts = [at for at, event in enumerate(listed) if event["event"] == "start"]
    end = newest(listed[starts[-1] :] if starts else listed, "end") or {}
    full = len(seconds) == len(tokens) == len(recent) and seconds
    return Progress(
        step=_whole(last.get("step")),
        total=_whole(last.get("total")),
        loss=losses[-1] if losses else None,
        first_loss=losses[0] if losses else None,
        metrics=in_words(metrics_in(own)) if isinstance(own, Mapping) else "",
        seconds_per_step=step_times_s[len(step_times_s) // 2] if step_times_s else None,
        tokens_per_second=sum(tokens) / sum(seconds) if full else None,
        trainable=_whole(load.get("trainable")),
        parameters=_whole(load.get("parameters")),
        eval_loss=_number(evaluation.get("loss")),
        eval_step=_whole(evaluation.get("step")),
        best_step=_whole(best.get("step")),
        best_eval_loss=_number(best.get("eval_loss")),
        final_step=_whole(end.get("final_step")),
        best_problem=_best_problem(listed),
        checkpoint=_whole(checkpoint.get("step")),
        synced=_whole((arrived or {}).get("step")),
        synced_to=_text((newest(copies, "synced") or {}).get("url")),
        sync_error=_text(failed.get("why")),
        allocated=_whole(memory.get("allocated")),
        reserved=_whole(memory.get("reserved")),
        loading_allocated=_whole(memory.get("loading_allocated")),
        restarts=max(0, len(starts) - 1),
        outcome=end.get("outcome") if isinstance(end.get("outcome"), str) else None,
    )


def _best_problem(listed: Sequence[dict[str, Any]]) -> str:
    """Return why the stage `best` was not submitted the last time; '' where it was."""
    ends = [event for event in listed if event["event"] in {"best submitted", "best failed"}]
    return _text(ends[-1].get("why")) or "" if ends else ""


def _step_times(steps: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return seconds per step of every event: with logging_steps: 5 an event speaks for five."""
    step_times_s = []
    before = 0
    for event in steps:
        step, seconds = _whole(event.get("step")), _number(event.get("seconds"))
        if step is None:
            continue
        # A run that began again comes to lower numbers: its first event speaks for one step.
        done = step - before if step > before else 1
        if seconds:
            step_times_s.append(seconds / done)
        before = step
    return step_times_s


def _number(value: Any) -> float | None:
    """Take a finite number; anything else is not known."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < MOST else None


def _text(value: Any) -> str | None:
    return mask(value) if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
