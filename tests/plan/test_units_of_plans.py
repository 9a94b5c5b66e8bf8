"""Rates of networks and time limits, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.plan.slurm_time import seconds_of
from hpclaunch.predict.network import rate


@pytest.mark.parametrize(
    ("text", "gigabytes"),
    [
        ("200gb", 25), ("10gbe", 1.25), ("4x200gb", 100), ("25GB/s", 25), ("2x12.5GB/s", 25),
        ("200Gb/s", 25), ("200 Gbit/s", 25), ("100gbps", 12.5), ("25GBps", 25), ("200Gb", 25),
    ],
)  # fmt: skip
def test_rates(text: str, gigabytes: float) -> None:
    # A small b is a bit, as on every port's label; a capital one a byte.
    assert rate(text) == pytest.approx(gigabytes)


@pytest.mark.parametrize(
    "text", ["", "fast", "0gb", "-1gb", "1e3gb", "gb", "10 mb", "100", "25gb/s", "25GB"]
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(UserError, match="--network"):
        rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("3:00:00", 10800), ("30:15", 1815), ("1-12", 129600), ("1-12:30", 131400)],
)
def test_limits(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@given(st.integers(0, 9), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_the_long_form(days: int, hours: int, minutes: int, seconds: int) -> None:
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert seconds_of(f"{days}-{hours:02d}:{minutes:02d}:{seconds:02d}") == whole


@given(st.text(max_size=12))
def test_anything_else_is_refused_in_a_line(text: str) -> None:
    try:
        assert seconds_of(text) > 0
    except UserError as error:
        assert "--time" in str(error)
    try:
        assert rate(text) > 0
    except UserError as error:
        assert "--network" in str(error)
