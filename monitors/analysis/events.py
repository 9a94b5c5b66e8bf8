"""The events that a program logs: steps, checkpoints, loading; and where the time went.

An event is a JSON object with `time` (Unix seconds) and `event`. These are read, each with the
`seconds` that ended at `time`:

    load, data
    step        step, tokens, loss, waited (seconds the step waited for its batches)
    checkpoint  stalled (seconds in which training stood still, where it is saved asynchronously)

and `start`, `eval`, `end`, `checkpoint failed`, and

    clocks      ahead, within: objects from a node's name to the seconds that its clock is ahead of
                the clock of the events, and to the error of that

Others are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

_MOST = 1e15
_STEPS_TO_COMPARE = 3
_LONG_STEP = 1.25
"""Times the median step: a first step that took longer than that was a warm-up."""
PHASES = {
    "start": "starting",
    "load": "loading the model",
    "data": "preparing the data",
    "step": "training",
    "eval": "evaluating",
    "checkpoint": "checkpoints",
    "finish": "finishing",
    "other": "between",
}
"""Names of the phases of the wall time, in the order in which they are shown."""
_TIMED = ("load", "data", "step", "checkpoint")
_READ = (*_TIMED, "start", "eval", "end", "checkpoint failed", "clocks")
_FIRST_COUNTS = ("checkpoint", "load", "data", "step", "eval")


@dataclass(frozen=True, slots=True)
class Step:
    """One logged step, or several logged as one. Times in seconds; None is unknown."""

    end: float
    seconds: float
    number: int | None = None
    tokens: float | None = None
    loss: float | None = None
    waited: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took a while; Unix seconds."""

    kind: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far a node's clock is ahead of the clock of the events, in seconds."""

    seconds: float
    within: float
    """By how much that may be wrong."""

    @property
    def correction_s(self) -> float:
        """Seconds to subtract from its times; 0 where the offset is within its error."""
        return self.seconds if abs(self.seconds) > self.within else 0.0


@dataclass(frozen=True)
class Events:
    """All events of a run."""

    steps: tuple[Step, ...] = ()
    spans: tuple[Span, ...] = ()
    """Loading, preparing, checkpoints and evaluations, without the steps."""
    starts: tuple[float, ...] = ()
    ended: float | None = None
    """Unix seconds."""
    outcome: str | None = None
    checkpoints_failed: int = 0
    clocks: Mapping[str, ClockOffset] = field(default_factory=dict)
    """By node, where they were compared; the last time counts."""
    unusable: int = 0
    """Events of the kinds that are read, without a time or a duration that can be."""

    @property
    def training(self) -> tuple[float, float] | None:
        """From the begin of the first step to the end of the last; None without steps."""
        if not self.steps:
            return None
        return min(step.end - step.seconds for step in self.steps), self.steps[-1].end

    @cached_property
    def warm_up(self) -> tuple[Span, ...]:
        """First steps of an attempt that took much longer than the others.

        Kernels are compiled and memory is claimed in them: that is no loss of the training's own.
        """
        if len(self.steps) < _STEPS_TO_COMPARE:
            return ()
        typical = median(step.seconds for step in self.steps)
        first = {next((s for s in self.steps if s.end > start), None) for start in self.starts}
        return tuple(
            Span("warm-up", step.end - step.seconds, step.end)
            for step in self.steps
            if (step in first or step is self.steps[0]) and step.seconds > _LONG_STEP * typical
        )

    def spent(self, kind: str) -> float:
        """Seconds under spans of one kind."""
        return sum(span.end - span.begin for span in self.spans if span.kind == kind)


def read_events(lines: Iterable[Mapping[str, Any]]) -> Events:
    """Return the events of the lines of events.jsonl; what makes no sense is passed over."""
    steps: list[Step] = []
    spans: list[Span] = []
    starts: list[float] = []
    ended: float | None = None
    outcome: str | None = None
    failed = 0
    clocks: dict[str, ClockOffset] = {}
    unusable = 0
    before: float | None = None
    for line in lines:
        end, event = _number(line.get("time")), line.get("event")
        if not isinstance(event, str):
            continue
        if end is None or not 1e6 < end < 1e11:
            unusable += event in _READ
            continue
        seconds = _number(line.get("seconds"))
        seconds = seconds if seconds is not None and 0 <= seconds < 1e8 else None
        unusable += event in _TIMED and seconds is None and line.get("seconds") is not None
        if event == "start":
            starts.append(end)
            ended = outcome = None
        elif event == "step" and seconds:
            steps.append(_step(line, end, seconds))
        elif event in ("load", "data", "checkpoint") and seconds is not None:
            held = _number(line.get("stalled"))
            stood = seconds if held is None else min(max(held, 0.0), seconds)
            spans.append(Span(event, end - seconds, end - seconds + stood))
        elif event == "eval" and before is not None and before < end:
            spans.append(Span("eval", before, end))
        elif event == "checkpoint failed":
            failed += 1
        elif event == "clocks":
            clocks |= _clocks(line.get("ahead"), line.get("within"))
        elif event == "end":
            ended, outcome = end, line["outcome"] if isinstance(line.get("outcome"), str) else None
        before = end
    steps.sort(key=lambda step: step.end)
    spans.sort(key=lambda span: span.begin)
    return Events(
        tuple(steps), tuple(spans), tuple(starts), ended, outcome, failed, clocks, unusable
    )


def phases(events: Events, begin: float, end: float) -> dict[str, float]:
    """Return the seconds from `begin` to `end` by phase, in the order of `PHASES`.

    They add up to the whole.
    """
    if end <= begin:
        return {}
    covers = [*events.spans, *(Span("step", s.end - s.seconds, s.end) for s in events.steps)]
    covers = [
        Span(span.kind, max(span.begin, begin), min(span.end, end))
        for span in covers
        if span.end > begin and span.begin < end
    ]
    work = [span for span in covers if span.kind in ("step", "checkpoint", "eval", "load", "data")]
    first = min((span.begin for span in work), default=end)
    last = max((span.end for span in work), default=end)
    changes: list[tuple[float, int, str]] = [(begin, 0, ""), (end, 0, "")]
    for span in covers:
        changes += [(span.begin, 1, span.kind), (span.end, -1, span.kind)]
    changes += [(first, 0, ""), (last, 0, "")]
    changes.sort(key=lambda change: change[0])
    spent = dict.fromkeys(PHASES, 0.0)
    running = dict.fromkeys(PHASES, 0)
    at = begin
    for moment, change, kind in changes:
        now = next((name for name in _FIRST_COUNTS if running[name]), None)
        if now is None:
            now = "start" if moment <= first else "finish" if at >= last else "other"
        spent[now] += max(0.0, moment - at)
        at = max(at, moment)
        if change:
            running[kind] += change
    rounded = {kind: round(seconds, 3) for kind, seconds in spent.items()}
    return {kind: seconds for kind, seconds in rounded.items() if seconds > 0}


def _step(line: Mapping[str, Any], end: float, seconds: float) -> Step:
    number = _number(line.get("step"))
    return Step(
        end,
        seconds,
        None if number is None else int(number),
        _number(line.get("tokens")),
        _number(line.get("loss")),
        _number(line.get("waited")),
    )


def _clocks(ahead: Any, within: Any) -> dict[str, ClockOffset]:
    found: dict[str, ClockOffset] = {}
    if isinstance(ahead, Mapping) and isinstance(within, Mapping):
        for node in ahead:
            seconds, error = _number(ahead[node]), _number(within.get(node))
            if isinstance(node, str) and seconds is not None and error is not None and error >= 0:
                found[node] = ClockOffset(seconds, error)
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _MOST else None
