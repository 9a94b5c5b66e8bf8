"""A hang as `watch`, `status` and `why` say it: the same words, and no remaining time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hpclaunch.diagnose.running import clock_ahead, running_activity
from hpclaunch.diagnose.state import run_state
from hpclaunch.run.events import read_events
from hpclaunch.run.phase import Phase, write_phase
from hpclaunch.run.record import read_record
from monitors.storage.live import Live
from monitors.storage.rank_states import RankState, RankStates, write_rank_states
from tests.cli.running import Home
from tests.watch.alive import Alive

Make = Callable[..., Alive]
SPINS = {"sm_pct": 100.0, "power_w": 96.0}


def shift(run: Alive, seconds: float) -> None:
    """Let the events be so many seconds older."""
    events = [event | {"time": event["time"] - seconds} for event in read_events(run.folder.events)]
    run.folder.events.write_text("".join(f"{json.dumps(event)}\n" for event in events))


def hanging(make: Make, **how: Any) -> Alive:
    run = make(**({"nodes": 2, "gpus": 2} | how))
    run.train(12)
    shift(run, 294 + run.behind_s)
    run.begin(seconds=0, until=40)
    for _ in range(40):
        run.tick(gpu=SPINS)
    return run


def test_the_three_say_the_same(home: Home, make: Make) -> None:
    hanging(make)
    status = json.loads(home.call("status", "--json").out)
    watch = json.loads(home.call("watch", "--once", "--json").out)
    why = json.loads(home.call("why", "--json").out)
    for found in (status, watch):
        assert found["hang"].startswith(("no step for 4 min 5", "no step for 5 min ")), found
        assert 294 <= found["step_age_s"] < 330
        assert found["seconds_left"] is None
        (line,) = found["hang_ranks"]
        assert line.startswith("GPU spins at low power (96 of 400 W): all 4"), line
    assert watch["progress"]["seconds_left"] is None
    assert why["cause"]["kind"] == "hang"
    assert why["cause"]["headline"].startswith("no step for ")
    assert "1.5 s a step: the ranks may hang; it came to step 12 of 200" in why["cause"]["headline"]
    assert "GPU spins" in why["cause"]["evidence"][0]["text"]


def test_the_rank_whose_main_thread_sleeps(home: Home, make: Make) -> None:
    run = hanging(make)
    for node, name in enumerate(run.names):
        ranks = tuple(
            RankState(9, "sleeping", 3, 1, time.time() - 290, "futex_wait_queue")
            if rank == 3 else RankState(rank, "running", rank, rank % 2)
            for rank in (2 * node, 2 * node + 1)
        )  # fmt: skip
        write_rank_states(run.folder.metrics, name, RankStates(time.time(), ranks))
    found = json.loads(home.call("status", "--json").out)["hang_ranks"][1]
    assert found.startswith("main thread sleeps in futex_wait_queue since ")
    assert ": rank 3 (n2); it is the only one of 4 ranks" in found
    assert "rank 3 (n2)" in home.call("watch", "--once").out.replace("\n", " ")
    why = json.loads(home.call("why", "--json").out)
    assert any("rank 3 (n2)" in each["text"] for each in why["cause"]["evidence"])


def test_it_stands_first_on_the_screen(home: Home, make: Make) -> None:
    hanging(make)
    lines = home.call("watch", "--once").out.splitlines()
    assert lines[1].startswith("hang        no step for ")
    step = next(line for line in lines if line.startswith("step "))
    assert "unknown left, " in step
    lines = home.call("status").out.splitlines()
    assert lines[2].startswith("hang        no step for ")
    step = next(line for line in lines if line.startswith("step "))
    assert "ago, remaining time unknown" in step


@pytest.mark.parametrize("behind_s", [3600.0, -3600.0])
def test_clocks_of_other_nodes(make: Make, behind_s: float) -> None:
    run = make(nodes=1, gpus=1, behind_s=behind_s)
    run.train(12)
    shift(run, 20 + behind_s)
    run.begin(seconds=30)
    record = read_record(run.folder)
    found = running_activity(run.folder, record, run_state(run.folder, record))
    assert found is not None
    assert found.step_age_s == pytest.approx(20, abs=10)
    assert not found.hang


def test_an_event_of_the_future_without_samples(make: Make) -> None:
    run = make(nodes=1, gpus=0)
    run.train(12)
    shift(run, -900)
    events = read_events(run.folder.events)
    ahead = clock_ahead(run.folder, events, (), ("n1",), events[-1]["time"] - 900)
    assert ahead == pytest.approx(900, abs=10)


def test_a_suspended_job_and_one_that_ended(make: Make) -> None:
    run = hanging(make)
    record = read_record(run.folder)
    now = run_state(run.folder, record)
    suspended = running_activity(run.folder, record, replace(now, slurm="SUSPENDED"))
    assert suspended is not None
    assert (suspended.hang, suspended.phase) == ("", "suspended by Slurm")
    assert not suspended.steps_come
    for state in ("failed", "done", "queued", "unknown"):
        ended: Any = replace(now, state=state)
        assert running_activity(run.folder, record, ended) is None


def test_a_phase_before_the_first_step(home: Home, make: Make) -> None:
    run = make(nodes=1, gpus=1)
    run.begin(seconds=3)
    began = Live(run.folder.metrics).refresh(0.0)[0].points[-1].tick.wall - 60
    write_phase(
        run.folder,
        Phase(name="downloading org/model", began=began, moved=began + 59, done=41e9, total=141e9,
              unit="B"),
    )  # fmt: skip
    assert "phase       downloading org/model: 41 of 141 GB, for 1 min 0" in home.call("status").out
    assert "downloading org/model: 41 of 141 GB" in home.call("watch", "--once").out.splitlines()[1]
    assert "running: downloading org/model: 41 of 141 GB, for 1 min" in home.call("why").out
