"""Whose GPUs spin or idle, and whose main threads sleep, from recorded samples."""

from __future__ import annotations

from typing import Any

from hpclaunch.diagnose.rank_activity import rank_lines
from monitors.records import GpuInfo, GpuSample, HostSample, Start, Tick
from monitors.storage.live import NodeNow, Point

HOSTS = ("n1", "n2")
SPINS = {"sm_pct": 100.0, "power_w": 96.0}
WORKS = {"sm_pct": 98.0, "power_w": 370.0}
IDLE = {"sm_pct": 0.0, "power_w": 60.0}


def node(name: str, *gpus: dict[str, Any], ran: float | None = None, age: float = 1.0) -> NodeNow:
    samples = tuple(GpuSample(index, **values) for index, values in enumerate(gpus))
    host = HostSample(rank_ran_pct=ran, rank_queued_pct=0.0 if ran is not None else None)
    points = tuple(Point(Tick(n, 1e9 + n, float(n), host, samples or None)) for n in range(40))
    infos = tuple(GpuInfo(index, power_limit_w=400.0) for index in range(len(gpus)))
    start: Any = Start(name, 1e9, 0.0, "UTC", 0, 1.0, infos)
    return NodeNow(name, start, infos, points, age)


def test_the_one_that_idles_is_named_before_those_that_wait_for_it() -> None:
    lines = rank_lines([node("n1", SPINS, SPINS), node("n2", SPINS, IDLE)], HOSTS, 2)
    assert lines == (
        "GPU idle: rank 3 (n2 GPU 1); the others wait for it",
        "GPU spins at low power (96 of 400 W): rank 0 (n1 GPU 0), rank 1 (n1 GPU 1), "
        "rank 2 (n2 GPU 0); it waits for other ranks",
    )


def test_all_spin_or_one_works() -> None:
    (line,) = rank_lines([node("n1", SPINS, SPINS), node("n2", SPINS, SPINS)], HOSTS, 2)
    assert line.startswith("GPU spins at low power (96 of 400 W): all 4")
    spin, work = rank_lines([node("n1", SPINS, WORKS)], ("n1",), 2)
    assert "rank 0" in spin
    assert work == "GPU works (370 of 400 W): rank 1 (n1 GPU 1)"


def test_ranks_are_not_guessed_where_gpus_and_ranks_differ_in_number() -> None:
    (line,) = rank_lines([node("n1", IDLE, ran=None)], ("n1",), 2)
    assert line == "GPU idle: n1 GPU 0"


def test_main_threads_of_ranks_on_cpus() -> None:
    lines = rank_lines([node("n1", ran=0.0), node("n2", ran=99.0)], HOSTS, 2)
    assert lines == (
        "the ranks' main threads sleep: on n1",
        "the ranks' main threads run: on n2",
    )


def test_unknown_is_not_made_up() -> None:
    assert rank_lines([node("n1")], HOSTS, 2) == ()
    assert rank_lines([], HOSTS, 2) == ()
    assert rank_lines([node("n1", ran=30.0)], HOSTS, 2) == ()


def test_a_node_without_samples_is_named() -> None:
    lines = rank_lines([node("n1", SPINS), node("n2", SPINS, age=300.0)], HOSTS, 1)
    assert lines[0] == "n2 records no samples: the last is 5 min 00 s old"
    assert len(lines) == 2
