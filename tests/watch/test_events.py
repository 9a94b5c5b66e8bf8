"""The marks kept up with tell the same progress as all of them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.diagnose.activity import allowed_s
from hpclaunch.diagnose.progress import progress
from hpclaunch.run.events import log_event, read_events
from hpclaunch.watch.events import KEPT_STEPS, EventReader


def step(number: int, **more: Any) -> str:
    values = {
        "time": 1.0,
        "event": "step",
        "step": number,
        "total": 9999,
        "seconds": 1 + number % 7,
    }
    return json.dumps(values | {"tokens": 100, "loss": 3 - number / 9999} | more) + "\n"


@pytest.mark.parametrize("steps", [0, 1, 19, 20, 21, KEPT_STEPS - 1, KEPT_STEPS + 1, 1000])
def test_the_same_progress(tmp_path: Path, steps: int) -> None:
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    for begin in range(2):
        log_event(path, "start", world=2)
        log_event(path, "load", seconds=1.0, parameters=10, trainable=1)
        with path.open("a") as stream:
            for number in range(steps):
                stream.write(
                    step(10 * begin + number + 1, **({"loss": None} if not number else {}))
                )
                if number % 10 == 9:
                    stream.write(f'{{"event": "checkpoint", "step": {number}, "time": 2.0}}\n')
        assert progress(reader.read()) == progress(read_events(path))
    assert len(reader.read()) < KEPT_STEPS + steps / 4 + 10


def test_a_torn_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    assert reader.read() == []
    line = step(1)
    for piece in (line[:30], line[30:]):
        with path.open("a") as stream:
            stream.write(piece)
        found = reader.read()
    assert [m["step"] for m in found] == [1]
    path.write_text(step(5, tokens=1))
    assert [m["step"] for m in reader.read()] == [5], "a shorter file is another"


def test_a_day_of_steps_is_not_read_every_second(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(step(number) for number in range(86_400)))
    reader = EventReader(path)
    reader.read()
    began = time.process_time()
    for number in range(20):
        with path.open("a") as stream:
            stream.write(step(86_400 + number))
        progress(reader.read())
    assert (time.process_time() - began) / 20 < 0.02


def test_the_longest_step_is_remembered_when_it_is_no_longer_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    seconds = [9.0, 80.0, float("nan"), 1e300, *[1.5] * (2 * KEPT_STEPS)]
    with path.open("w") as stream:
        for step, each in enumerate(seconds, 1):
            event = {"event": "step", "time": step, "step": step, "seconds": each, "loss": 1.0}
            stream.write(json.dumps(event) + "\n")
    events = reader.read()
    assert allowed_s(events, 1.5) == 240.0
    assert progress(events).step == len(seconds)
    assert progress(events).seconds_per_step == 1.5
