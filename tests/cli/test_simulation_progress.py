"""What `plan --exact` says while it simulates."""

from __future__ import annotations

import time

import pytest

from hpclaunch.cli import simulation_progress
from hpclaunch.cli.simulation_progress import SimulationProgress


def test_it_says_how_long_and_how_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulation_progress, "LINE_S", 0.05)
    with SimulationProgress() as progress:
        time.sleep(0.1)
        progress.done(0.1)
        progress.done(0.4)
        time.sleep(0.1)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[0] == "hpclaunch: simulating a step: about 20 s, more on a busy machine"
    assert lines[1].startswith("hpclaunch: simulating a step: starting PyTorch")
    assert "40% done, about " in lines[-1]
    assert captured.out == ""


def test_the_time_left_follows_from_what_is_done() -> None:
    progress = SimulationProgress()
    progress.done(0.02)
    assert progress._first is not None
    began, _ = progress._first
    assert progress.text(began + 1) == "2% done", "too little to tell"
    progress.done(0.52)
    assert progress.text(began + 10) == "52% done, about 9.6 s left"
