from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.diagnose.progress import progress


def step(number: int, seconds: float, tokens: int = 100, loss: float = 1.0) -> dict[str, Any]:
    return {"event": "step", "step": number, "total": 40, "seconds": seconds, "tokens": tokens,
            "loss": loss}  # fmt: skip


def test_a_mark_speaks_for_all_steps_since_the_one_before() -> None:
    found = progress([step(5, 10.0), step(10, 10.0), step(15, 10.0)])
    assert found.seconds_per_step == 2.0
    assert found.tokens_per_second == 10.0
    assert found.seconds_left == 25 * 2.0


def test_one_slow_step_does_not_set_the_pace() -> None:
    found = progress([step(1, 60.0), step(2, 1.0), step(3, 1.0), step(4, 1.0)])
    assert found.seconds_per_step == 1.0


def test_a_run_that_began_again_at_a_checkpoint() -> None:
    found = progress([step(10, 10.0), step(20, 10.0), step(15, 1.0), step(20, 5.0)])
    assert found.step == 20
    assert found.seconds_per_step == 1.0


def test_nothing_said_is_nothing_known() -> None:
    found = progress([])
    assert found.step is None
    assert found.seconds_left is None
    assert progress([{"event": "step"}]).tokens_per_second is None


NUMBERS = ("step", "total", "seconds", "tokens", "loss", "trainable", "outcome")
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"event": st.sampled_from(["load", "step", "checkpoint", "end"])},
            optional=dict.fromkeys(NUMBERS, values),
        )
    )
)
def test_any_marks_are_survived(marks: list[dict[str, Any]]) -> None:
    progress(marks)
