"""The times of stopping in time that stand outside Python are those of stop_timing."""

from __future__ import annotations

import re

import pytest

from hpclaunch.run import stop_timing
from hpclaunch.shipped import shipped
from tests.cli.running import ROOT


def test_launch_sh_has_the_same_limit() -> None:
    text = shipped("render", "static", "launch.sh").read_text("utf-8")
    (seconds,) = re.findall(r"^time_limit_signal_seconds=(\d+)$", text, re.MULTILINE)
    assert int(seconds) == stop_timing.TIME_LIMIT_SIGNAL_SECONDS


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (
            "long-runs.md",
            f"each taken {stop_timing.SLOWDOWN_FACTOR} times, and "
            f"{stop_timing.AFTER_CHECKPOINT_SECONDS:.0f} s are left",
        ),
        (
            "script.md",
            f"each {stop_timing.SLOWDOWN_FACTOR} times as long as the slowest so far, plus "
            f"{stop_timing.AFTER_CHECKPOINT_SECONDS:.0f} s",
        ),
        ("script.md", f"{stop_timing.SIGNAL_BEFORE_END_SECONDS} s before the time limit"),
        ("script.md", f"more than {stop_timing.TIME_LIMIT_SIGNAL_SECONDS} s left"),
        ("script.md", f"less than {stop_timing.TIME_LIMIT_SIGNAL_SECONDS} s left"),
    ],
)
def test_the_pages_have_these_seconds(page: str, words: str) -> None:
    assert words in (ROOT / "docs/guides" / page).read_text(), f"docs/guides/{page}"


def test_slurms_earliest_signal_before_the_time_limit_is_known_for_one() -> None:
    """Slurm may send a signal up to 60 s before the time that --signal names."""
    earliest = stop_timing.SIGNAL_BEFORE_END_SECONDS + 60
    assert earliest < stop_timing.TIME_LIMIT_SIGNAL_SECONDS


def test_an_upload_ends_before_the_reserve_of_the_last_checkpoint() -> None:
    reserve = stop_timing.AFTER_CHECKPOINT_SECONDS
    assert reserve > stop_timing.PREEMPTED_UPLOAD_SECONDS
    assert reserve > stop_timing.REQUEUE_RESERVE_SECONDS
