"""How far clocks are apart, from what they said between two moments of another."""

from __future__ import annotations

import pytest

from hpclaunch.train.clocks import Said, offsets


def test_the_bounds_of_all_rounds_count() -> None:
    said = [
        Said("node2", at=105.0, after=100.0, before=101.0),  # 4.0 to 5.0 ahead
        Said("node2", at=206.0, after=201.4, before=202.0),  # 4.0 to 4.6
        Said("node2", at=305.5, after=300.0, before=301.1),  # 4.4 to 5.5
        Said("node1", at=100.5, after=100.0, before=101.0),
    ]
    found = offsets(said)
    assert found["node2"] == pytest.approx((4.5, 0.1))
    assert found["node1"] == pytest.approx((0.0, 0.5))


def test_a_clock_that_is_set_meanwhile_tells_nothing() -> None:
    said = [
        Said("node2", at=100.5, after=100.0, before=101.0),
        Said("node2", at=190.5, after=100.0, before=101.0),
    ]
    assert offsets(said) == {}
