"""What a running training does now: the age of its last step, its phase, and whether it may hang.

`watch`, `status` and `why` all take it from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpclaunch.frozen import frozen
from hpclaunch.run.phase import Phase
from hpclaunch.units import duration

STEPS, LEAST_S, LONGEST = 5, 60.0, 3
"""A training may hang after so many steps, so many seconds, and so often the longest step so far
without a sign of progress: all three must have passed."""
COUNTED_S, UNCOUNTED_S = 300.0, 900.0
"""Seconds after which a phase beside the steps may hang: one whose count stands still, and one that
counts nothing, such as a save."""
_PROGRESS_EVENTS = ("step", "checkpoint", "checkpoint failed", "eval")
"""Events that show that the training goes on."""
_FUTURE_S = 5.0
"""Seconds by which an event may lie in the future before its time is not believed."""
_MOST = 1e12
"""No time is later, in Unix seconds; what claims to be is damage."""

Event = Mapping[str, Any]


@frozen
class Activity:
    """What a running training does at one time. None and '' are unknown, or not there."""

    step_age_s: float | None = None
    """Seconds since the last step of this attempt; None before the first."""
    phase: str = ""
    """What is done beside steps, and how far it is: before the first, or in between."""
    phase_s: float | None = None
    """Seconds since that phase began."""
    hang: str = ""
    """Why the ranks may hang, in one line; '' where they go on."""
    ranks: tuple[str, ...] = ()
    """Where they hang: what their GPUs or their main threads do, a line for each kind."""
    suspended: bool = False
    """Slurm has suspended the job: nothing goes on, and nothing hangs."""

    @property
    def steps_come(self) -> bool:
        """Whether steps come one after the other, so that their time says when the last will."""
        return not self.hang and not self.suspended and self.step_age_s is not None


def to_dict(found: Activity | None) -> dict[str, Any]:
    """Return it for a script, under the names that `status` and `watch` share."""
    now = found or Activity()
    return {
        "step_age_s": None if now.step_age_s is None else round(now.step_age_s, 3),
        "phase": now.phase,
        "phase_s": None if now.phase_s is None else round(now.phase_s, 3),
        "hang": now.hang,
        "hang_ranks": list(now.ranks),
        "suspended": now.suspended,
    }


def activity(
    events: Sequence[Event],
    phase: Phase | None,
    now: float,
    seconds_per_step: float | None = None,
    resumed_at: float | None = None,
) -> Activity:
    """Return what a training that runs does at `now`, in Unix seconds on its first node's clock.

    `resumed_at`: when Slurm let a suspended job go on; nothing could be done before.
    """
    mine = _of_attempt(events, phase)
    steps = [event for event in mine if event.get("event") == "step"]
    step_age = _age(now, _time(steps[-1])) if steps else None
    moved = [_time(event) for event in mine if event.get("event") in _PROGRESS_EVENTS]
    moved += [phase.moved if phase else None, resumed_at]
    signs = [at for at in moved if at is not None]
    if phase is not None and phase.name:
        return _in_phase(phase, now, step_age, signs, _longest(events, "checkpoint"))
    if steps:
        ended = any(event.get("event") == "end" for event in mine)
        silent = None if ended else _age(now, max(signs, default=None))
        allowed = allowed_s(events, seconds_per_step)
        if _whole(steps[-1].get("step")) == (_whole(steps[-1].get("total")) or -1):
            allowed = max(allowed, UNCOUNTED_S)  # the final weights are being saved
        hang = ""
        if silent is not None and silent > allowed:
            step_time = f" at {duration(seconds_per_step)} a step" if seconds_per_step else ""
            since = min(step_age or silent, silent) if resumed_at else step_age
            hang = f"no step for {duration(since)}{step_time}: the ranks may hang"
        return Activity(step_age_s=step_age, hang=hang)
    return _before_first_step(mine, now, resumed_at)


def allowed_s(events: Sequence[Event], seconds_per_step: float | None) -> float:
    """Return the seconds without a sign of progress from which the ranks may hang."""
    longest = _longest(events, "step")
    return max(STEPS * (seconds_per_step or 0.0), LEAST_S, LONGEST * longest)


def _in_phase(
    phase: Phase, now: float, step_age: float | None, signs: list[float], longest_save: float
) -> Activity:
    silent, since = _age(now, max(signs)), _age(now, phase.began)
    allowed = COUNTED_S if phase.counted else max(UNCOUNTED_S, LONGEST * longest_save)
    hang = ""
    if silent is not None and silent > allowed:
        stands = "stands still" if phase.counted else "has said nothing"
        hang = f"{phase.text}: it {stands} for {duration(silent)}, and may hang"
    return Activity(step_age_s=step_age, phase=phase.text, phase_s=since, hang=hang)


def _before_first_step(mine: Sequence[Event], now: float, resumed_at: float | None) -> Activity:
    """Return the phase as the events tell it, of a run that writes no phases."""
    last = next((event for event in reversed(mine) if event.get("event") in _PHASES), None)
    if last is None:
        return Activity(phase="starting: no rank has reported yet")
    at = _time(last)
    since = _age(now, at if at is None or resumed_at is None else max(at, resumed_at))
    text, hang = _PHASES[str(last["event"])], ""
    if since is not None and since > UNCOUNTED_S:
        hang = f"{text}: it has said nothing for {duration(since)}, and may hang"
    return Activity(phase=text, phase_s=since, hang=hang)


_PHASES = {
    "start": "the ranks are connected, and load the model",
    "load": "the model is loaded; the data is being read",
    "data": "the data is read; the first step is running",
}


def _of_attempt(events: Sequence[Event], phase: Phase | None) -> list[Event]:
    """Return the events of the attempt at work: none where its ranks have not started yet."""
    starts = [at for at, event in enumerate(events) if event.get("event") == "start"]
    if phase is None:
        return list(events[starts[-1] :] if starts else events)
    if not phase.trains:
        return []
    if (
        starts
        and phase.attempt
        and events[starts[-1]].get("attempt", phase.attempt) != phase.attempt
    ):
        return []
    return list(events[starts[-1] :] if starts else events)


def _longest(events: Sequence[Event], kind: str) -> float:
    """Return the most seconds that an event of this kind took; of steps: since the event before."""
    seconds = [_number(event.get("seconds")) for event in events if event.get("event") == kind]
    return max((each for each in seconds if each is not None), default=0.0)


def _age(now: float, at: float | None) -> float | None:
    """Return the seconds since `at`; None where that is unknown, or lies in the future."""
    if at is None or at > now + _FUTURE_S:
        return None
    return max(0.0, now - at)


def _time(event: Event) -> float | None:
    return _number(event.get("time"))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST:
        return None
    return float(value)


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
