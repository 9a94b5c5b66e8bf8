"""The age of the last step, the phase, and when a training that runs may hang."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.diagnose.activity import Activity, activity, allowed_s, to_dict
from hpclaunch.diagnose.progress import progress
from hpclaunch.run.phase import Phase

NOON = 1.8e9


def steps(count: int = 20, seconds: float = 1.5, **more: Any) -> list[dict[str, Any]]:
    """Return the events of a training whose last step was at NOON."""
    begin = NOON - count * seconds
    events: list[dict[str, Any]] = [
        {"time": begin - 9, "event": "start", "world": 4},
        {"time": begin, "event": "data"},
    ]
    for step in range(1, count + 1):
        at = begin + step * seconds
        events.append(
            {"time": at, "event": "step", "step": step, "total": 500, "seconds": seconds} | more
        )
    return events


def after(events: list[dict[str, Any]], seconds: float, **more: Any) -> Activity:
    """Return the activity so many seconds after the last step."""
    step_time = progress(events).seconds_per_step
    return activity(events, more.pop("phase", None), NOON + seconds, step_time, **more)


def phase(name: str, moved: float, **more: Any) -> Phase:
    values: dict[str, Any] = {"began": moved, "trains": True} | more
    return Phase(name=name, moved=moved, **values)


def test_a_hang_is_said_with_its_age_and_the_step_time() -> None:
    found = after(steps(), 294)
    assert found.step_age_s == 294
    assert found.hang == "no step for 4 min 54 s at 1.5 s a step: the ranks may hang"
    assert not found.steps_come


@pytest.mark.parametrize(
    ("seconds", "allowed"),
    [(1.5, 60), (11.0, 60), (13.0, 65), (30.0, 150)],
    ids=["a minute", "just a minute", "five steps", "five slow steps"],
)
def test_a_minute_or_five_steps_must_pass(seconds: float, allowed: float) -> None:
    events = steps(seconds=seconds)
    assert allowed_s(events, seconds) == allowed
    assert not after(events, allowed - 1).hang
    assert after(events, allowed + 1).hang


def test_three_times_the_longest_step_must_pass() -> None:
    events = steps()
    events[3]["seconds"] = 100.0
    assert not after(events, 299).hang
    assert after(events, 301).hang


@pytest.mark.parametrize("kind", ["checkpoint", "checkpoint failed", "eval"])
def test_a_checkpoint_or_evaluation_is_a_sign(kind: str) -> None:
    events = [*steps(), {"time": NOON + 200, "event": kind, "step": 20}]
    assert not after(events, 250).hang
    late = after(events, 270)
    assert late.hang.startswith("no step for 4 min 30 s")


def test_an_upload_is_none() -> None:
    events = [*steps(), {"time": NOON + 200, "event": "synced", "name": "step-20"}]
    assert after(events, 210).hang


def test_of_steps_that_are_logged_in_tens_the_time_between_two_lines_counts() -> None:
    events = steps(count=5, seconds=15.0)
    for number, event in enumerate(events[2:], 1):
        event["step"] = 10 * number
    step_time = progress(events).seconds_per_step
    assert step_time == 1.5
    assert not activity(events, None, NOON + 50, step_time).hang
    assert activity(events, None, NOON + 61, step_time).hang


def test_an_evaluation_and_a_save_take_their_time() -> None:
    events = steps()
    counted = phase("evaluating", NOON + 250, began=NOON + 1, done=40, total=90, unit="batches")
    found = after(events, 294, phase=counted)
    assert (found.hang, found.phase) == ("", "evaluating: 40 of 90 batches")
    assert found.step_age_s == 294
    assert "stands still for 5 min 50 s" in after(events, 600, phase=counted).hang
    saving = phase("saving checkpoint step-20", NOON + 1)
    assert not after(events, 800, phase=saving).hang
    assert after(events, 1000, phase=saving).hang
    slow = [*events, {"time": NOON - 9, "event": "checkpoint", "seconds": 700.0}]
    assert not after(slow, 2000, phase=saving).hang, "the last one took 12 min"


def test_before_the_first_step_the_phase_is_told() -> None:
    name = "downloading meta-llama/Llama-3.1-70B"
    loading = phase(name, NOON, done=41e9, total=141e9, unit="B", trains=False)
    found = activity([], loading, NOON + 20)
    assert found == Activity(phase=f"{name}: 41 of 141 GB", phase_s=20.0)
    assert "stands still for 5 min 01 s" in activity([], loading, NOON + 301).hang


def test_steps_of_an_earlier_attempt_are_no_steps_of_this_one() -> None:
    events = [*steps(), {"time": NOON + 9, "event": "failure", "why": "rank 3 died"}]
    fetching = phase("reading the data", NOON + 3600, trains=False, attempt="8.1")
    found = activity(events, fetching, NOON + 3610, 1.5)
    assert (found.step_age_s, found.hang, found.phase) == (None, "", "reading the data")
    begun = [*events, {"time": NOON + 3700, "event": "start", "attempt": "8.1"}]
    found = activity(begun, None, NOON + 3710, 1.5)
    assert (found.step_age_s, found.hang) == (None, "")
    assert "load the model" in found.phase


def test_a_resumed_job_did_nothing_while_it_was_suspended() -> None:
    events = steps()
    assert after(events, 4000).hang
    assert not after(events, 4000, resumed_at=NOON + 3990).hang
    late = after(events, 4000, resumed_at=NOON + 3900)
    assert late.hang.startswith("no step for 1 min 40 s")


def test_the_last_step_is_followed_by_the_final_weights() -> None:
    events = steps(total=20)
    assert not after(events, 800).hang
    assert after(events, 1000).hang
    ended = [*events, {"time": NOON + 5, "event": "end", "outcome": "done"}]
    assert not after(ended, 4000).hang, "copies are being uploaded"


def test_a_time_in_the_future_is_not_believed() -> None:
    found = after(steps(), -3600)
    assert (found.step_age_s, found.hang) == (None, "")
    assert after(steps(), -2).step_age_s == 0.0, "clocks differ by a little"


def test_what_is_unknown_is_null_for_a_script() -> None:
    assert to_dict(None) == {
        "step_age_s": None, "phase": "", "phase_s": None, "hang": "", "hang_ranks": [],
        "suspended": False,
    }  # fmt: skip


values = st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.floats(), st.integers())
event = st.fixed_dictionaries(
    {"event": st.sampled_from(["start", "load", "step", "checkpoint", "eval", "end", ""])},
    optional={"time": values, "seconds": values, "step": values, "total": values},
)


@given(st.lists(event, max_size=6), st.floats(0, 4e9))
def test_damaged_events_are_survived(events: list[dict[str, Any]], now: float) -> None:
    found = activity(events, None, now, progress(events).seconds_per_step)
    assert found.step_age_s is None or found.step_age_s >= 0
