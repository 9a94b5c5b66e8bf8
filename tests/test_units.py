from __future__ import annotations

import pytest

from hpclaunch.units import count, duration, size, size_of


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


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (41e9, 141e9, "41 of 141 GB"),
        (1.2e9, 16.1e9, "1.2 of 16.1 GB"),
        (820e6, 2.5e9, "820 MB of 2.5 GB"),
        (3e6, 52e6, "3.0 of 52.0 MB"),
        (41e9, None, "41.0 GB"),
    ],
)
def test_bytes_done(done: float, total: float | None, text: str) -> None:
    assert size_of(done, total) == text
