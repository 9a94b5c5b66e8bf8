"""What the program said of its work, and where the wall time went."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monitors.analysis.events import phases, read_events

T = 1_790_000_000.0


def event(at: float, event: str, **fields: Any) -> dict[str, Any]:
    return {"time": T + at, "event": event, **fields}


JOB = [
    event(10, "start"),
    event(40, "load", seconds=25.0),
    event(45, "data", seconds=4.0),
    event(60, "step", step=1, seconds=14.0, tokens=100, loss=2.0, waited=1.0),
    event(66, "checkpoint", step=1, seconds=6.0),
    event(80, "step", step=2, seconds=20.0, tokens=100, loss=1.5),
    event(85, "eval", step=2, loss=1.6),
    event(90, "end", step=2, outcome="done"),
]


def test_the_parts_of_the_time_add_up() -> None:
    spent = phases(read_events(JOB), T, T + 90)
    assert spent == {
        "start": 15,  # to the begin of loading
        "load": 25,
        "data": 4,
        "step": 28,  # 14 and 20, less the 6 in which the checkpoint was written
        "eval": 5,
        "checkpoint": 6,
        "finish": 5,
        "other": 2,
    }
    assert list(spent) == ["start", "load", "data", "step", "eval", "checkpoint", "finish", "other"]
    assert sum(spent.values()) == 90


def test_a_checkpoint_costs_only_the_time_the_training_stood_still() -> None:
    """It was begun 20 s before it was in place, and training went on after 2."""
    behind = [*JOB[:4], event(80, "checkpoint", step=1, seconds=20.0, stalled=2.0), JOB[5]]
    events = read_events(behind)
    assert events.spent("checkpoint") == 2
    assert events.spans[-1].begin == T + 60


def test_time_between_two_starts_is_in_between() -> None:
    again = [
        *JOB[:6],
        event(200, "start"),
        event(230, "step", step=3, seconds=10.0),
        event(240, "end"),
    ]
    spent = phases(read_events(again), T, T + 240)
    assert spent["other"] == pytest.approx(142)
    assert sum(spent.values()) == 240


def test_what_the_last_start_said_of_its_end_counts() -> None:
    events = read_events([*JOB, event(100, "start")])
    assert (events.ended, events.outcome) == (None, None)
    assert (read_events(JOB).outcome, read_events(JOB).ended) == ("done", T + 90)


values = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
fields = st.dictionaries(
    st.sampled_from(["time", "seconds", "stalled", "step", "tokens", "loss", "waited", "outcome"]),
    values | st.floats(T, T + 1000),
)
events = st.sampled_from(["start", "load", "data", "step", "eval", "checkpoint", "end", "other", 3])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(events, fields), max_size=12), st.floats(T, T + 2000))
@example([], T + 2e-7)
def test_any_marks_are_understood_somehow(
    raw: list[tuple[Any, dict[str, Any]]], end: float
) -> None:
    events = read_events([{"event": event, **found} for event, found in raw])
    spent = phases(events, T, end)
    assert all(seconds > 0 for seconds in spent.values())
    assert sum(spent.values()) == pytest.approx(end - T, abs=0.1)
