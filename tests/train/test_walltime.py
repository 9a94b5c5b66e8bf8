"""When a run stops for its time limit: late enough, and in time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.run.stop_timing import AFTER_CHECKPOINT_SECONDS, SLOWDOWN_FACTOR
from hpclaunch.train.walltime import Walltime, allocation_end, slowest_checkpoint


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def steps_until_stop(end: float, step: float, checkpoint: float | None) -> tuple[Walltime, Clock]:
    clock = Clock()
    walltime = Walltime(clock.time + end, checkpoint, clock)
    while not walltime.must_stop():
        clock.time += step
        walltime.step_ended()
    return walltime, clock


@given(
    step=st.floats(5, 600),
    checkpoint=st.floats(0, 600),
    limit=st.floats(300, 20000),
)
def test_what_was_measured_fits_before_the_end(
    step: float, checkpoint: float, limit: float
) -> None:
    walltime, clock = steps_until_stop(limit, step, checkpoint)
    assert walltime.end is not None
    if clock.time > 1000.0 + step:  # it had time for more than one step
        assert clock.time + checkpoint <= walltime.end
    # And it is not wasteful: one more step would have come too close.
    assert (
        clock.time + SLOWDOWN_FACTOR * (step + checkpoint) + AFTER_CHECKPOINT_SECONDS
        >= walltime.end - 1e-6
    )


def test_a_slow_step_is_remembered() -> None:
    clock = Clock()
    walltime = Walltime(clock.time + 1000, 10.0, clock)
    clock.time += 300  # the first step, with everything that is slow at first
    walltime.step_ended()
    clock.time += 10
    walltime.step_ended()
    assert not walltime.must_stop()
    clock.time = (
        walltime.end - SLOWDOWN_FACTOR * 310 - AFTER_CHECKPOINT_SECONDS - 1 if walltime.end else 0.0
    )
    assert not walltime.must_stop()
    clock.time += 2
    assert walltime.must_stop()


def test_the_time_of_a_checkpoint_is_no_steps() -> None:
    clock = Clock()
    walltime = Walltime(clock.time + 1000, None, clock)
    clock.time += 10
    walltime.step_ended()
    clock.time += 200
    walltime.checkpoint_saved(200)
    walltime.training_continues()
    clock.time += 10
    walltime.step_ended()
    assert walltime.checkpoint_seconds == 200
    clock.time = 2000 - SLOWDOWN_FACTOR * 210 - AFTER_CHECKPOINT_SECONDS - 1
    assert not walltime.must_stop()


def test_an_unknown_checkpoint_is_measured_in_time() -> None:
    clock = Clock()
    walltime = Walltime(clock.time + 1000, None, clock)
    assert not walltime.must_measure()
    clock.time += 500
    assert walltime.must_measure()
    walltime.checkpoint_saved(3.0)
    assert not walltime.must_measure()


def test_no_limit_no_stop() -> None:
    clock = Clock()
    walltime = Walltime(None, None, clock)
    clock.time += 1e9
    assert not walltime.must_stop()
    assert not walltime.must_measure()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("4000000000", 4e9), ("1700000000", None), ("", None), ("N/A", None), (None, None)],
)
def test_the_end_as_the_script_gives_it(value: str | None, expected: float | None) -> None:
    assert allocation_end({} if value is None else {"HPCLAUNCH_ENDS": value}) == expected


def test_checkpoints_of_earlier_attempts_count() -> None:
    events: list[dict[str, Any]] = [
        {"event": "checkpoint", "seconds": 3.0},
        {"event": "step", "seconds": 99.0},
        {"event": "checkpoint", "seconds": 5.5},
        {"event": "checkpoint"},
    ]
    assert slowest_checkpoint(events) == 5.5
    assert slowest_checkpoint([]) is None


def test_a_pending_save_must_finish_before_the_last_one() -> None:
    clock = Clock()
    walltime = Walltime(clock.time + 1000, 100.0, clock)
    walltime.training_continues(save_pending=True)
    clock.time = 2000 - AFTER_CHECKPOINT_SECONDS - SLOWDOWN_FACTOR * 200 + 1
    assert walltime.must_stop()
    walltime.checkpoint_saved(100.0)
    assert not walltime.must_stop()
    clock.time = 2000 - AFTER_CHECKPOINT_SECONDS - SLOWDOWN_FACTOR * 100 + 1
    assert walltime.must_stop()


def test_a_first_pending_save_is_measured_once() -> None:
    clock = Clock()
    walltime = Walltime(clock.time + 1000, None, clock)
    clock.time += 501
    assert walltime.must_measure()
    walltime.training_continues(save_pending=True)
    assert not walltime.must_measure()
    clock.time += 60  # and on: as long may the next take, after it
    assert not walltime.must_stop()
    clock.time = 2000 - AFTER_CHECKPOINT_SECONDS - 1
    assert walltime.must_stop()
