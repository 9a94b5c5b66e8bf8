from __future__ import annotations

import pytest

from hpclaunch.units import count, duration, size


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "unknown"),
        (0, "0 s"),
        (0.00014, "under 1 ms"),
        (0.134, "134 ms"),
        (4.21, "4.2 s"),
        (41.4, "41 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (187200, "2 d 04 h"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_counts() -> None:
    assert count(None) == "unknown"
    assert count(103546880) == "103,546,880"


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0.0 MB"), (419_000, "0.4 MB"), (503_316_480, "0.5 GB"), (141.4e9, "141 GB")],
)
def test_sizes(number: float, said: str) -> None:
    assert size(number) == said
