"""How far a run has come, from the marks its first rank leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpclaunch.run.events import newest

RECENT = 20
"""Steps that a pace is taken over: long enough to be calm, short enough to notice a change."""

MOST = 1e18
"""No count or time here is larger; what claims to be is damage."""


@dataclass(frozen=True)
class Progress:
    """Numbers of the training so far; None is not known, or not yet."""

    step: int | None = None
    total: int | None = None
    loss: float | None = None
    first_loss: float | None = None
    seconds_per_step: float | None = None
    """Median of the last steps."""
    tokens_per_second: float | None = None
    """All ranks together, without padding, over the last steps."""
    trainable: int | None = None
    """Trained parameters over all ranks."""
    parameters: int | None = None
    checkpoint: int | None = None
    """Step of the newest checkpoint."""
    synced: int | None = None
    """Step of the newest checkpoint that was copied to `checkpoints.sync_to`."""
    synced_to: str | None = None
    """Where the newest copy lies, of a checkpoint or of the final weights."""
    sync_error: str | None = None
    """Why nothing has arrived there since."""
    allocated: int | None = None
    """Bytes that tensors took of the fullest GPU, over the newest start that has ended."""
    reserved: int | None = None
    """Bytes that the allocator held there."""
    restarts: int = 0
    """Starts after the first."""
    outcome: str | None = None
    """`done` or `stopped` once the training has ended."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the last step at this pace."""
        if self.step is None or self.total is None or self.seconds_per_step is None:
            return None
        return max(0, self.total - self.step) * self.seconds_per_step


def progress(marks: Sequence[Mapping[str, Any]]) -> Progress:
    """Read the progress off the marks of a run."""
    listed = [dict(mark) for mark in marks]
    steps = [mark for mark in listed if mark["event"] == "step"]
    losses = [loss for mark in steps if (loss := _number(mark.get("loss"))) is not None]
    recent = steps[-RECENT:]
    paces = sorted(_paces(steps)[-RECENT:])
    seconds = [s for mark in recent if (s := _number(mark.get("seconds")))]
    tokens = [t for mark in recent if (t := _number(mark.get("tokens"))) is not None]
    last = steps[-1] if steps else {}
    load = newest(listed, "load") or {}
    checkpoint = newest(listed, "checkpoint") or {}
    memory = newest(listed, "memory") or {}
    copies = [mark for mark in listed if mark["event"] in {"synced", "sync failed"}]
    arrived = newest([mark for mark in copies if _whole(mark.get("step")) is not None], "synced")
    failed = copies[-1] if copies and copies[-1]["event"] == "sync failed" else {}
    starts = [at for at, mark in enumerate(listed) if mark["event"] == "start"]
    end = newest(listed[starts[-1] :] if starts else listed, "end") or {}
    full = len(seconds) == len(tokens) == len(recent) and seconds
    return Progress(
        step=_whole(last.get("step")),
        total=_whole(last.get("total")),
        loss=losses[-1] if losses else None,
        first_loss=losses[0] if losses else None,
        seconds_per_step=paces[len(paces) // 2] if paces else None,
        tokens_per_second=sum(tokens) / sum(seconds) if full else None,
        trainable=_whole(load.get("trainable")),
        parameters=_whole(load.get("parameters")),
        checkpoint=_whole(checkpoint.get("step")),
        synced=_whole((arrived or {}).get("step")),
        synced_to=_text((newest(copies, "synced") or {}).get("url")),
        sync_error=_text(failed.get("why")),
        allocated=_whole(memory.get("allocated")),
        reserved=_whole(memory.get("reserved")),
        restarts=max(0, len(starts) - 1),
        outcome=end.get("outcome") if isinstance(end.get("outcome"), str) else None,
    )


def _paces(steps: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return seconds per step of every mark: with logging_steps: 5 a mark speaks for five."""
    paces = []
    before = 0
    for mark in steps:
        step, seconds = _whole(mark.get("step")), _number(mark.get("seconds"))
        if step is None:
            continue
        # A run that began again comes to lower numbers: its first mark speaks for one step.
        done = step - before if step > before else 1
        if seconds:
            paces.append(seconds / done)
        before = step
    return paces


def _number(value: Any) -> float | None:
    """Take a finite number; anything else is not known."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < MOST else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
