"""How far clocks are apart, from readings between two readings of another."""

from __future__ import annotations

import pytest

from hpclaunch.train.clocks import ClockReading, clock_offsets


def test_the_bounds_of_all_rounds_count() -> None:
    readings = [
        ClockReading("node2", at=105.0, after=100.0, before=101.0),  # 4.0 to 5.0 ahead
        ClockReading("node2", at=206.0, after=201.4, before=202.0),  # 4.0 to 4.6
        ClockReading("node2", at=305.5, after=300.0, before=301.1),  # 4.4 to 5.5
        ClockReading("node1", at=100.5, after=100.0, before=101.0),
    ]
    offsets = clock_offsets(readings)
    assert offsets["node2"] == pytest.approx((4.5, 0.1))
    assert offsets["node1"] == pytest.approx((0.0, 0.5))


def test_a_clock_that_is_set_meanwhile_tells_nothing() -> None:
    readings = [
        ClockReading("node2", at=100.5, after=100.0, before=101.0),
        ClockReading("node2", at=190.5, after=100.0, before=101.0),
    ]
    assert clock_offsets(readings) == {}
