"""Whose GPUs spin or idle, and whose main threads sleep, from recorded samples."""

from __future__ import annotations

from typing import Any

from hpclaunch.diagnose.rank_activity import rank_lines
from monitors.records import GpuInfo, GpuSample, HostSample, Start, Tick
from monitors.storage.live import NodeNow, Point
from monitors.storage.rank_states import RankState, RankStates

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


# Which rank's main thread sleeps: from what the nodes' sidecars wrote

NOW = 1e9 + 40
"""The nodes' clock at which the made-up samples are looked at."""
ASLEEP, IN_FUTEX = NOW - 294, "futex_wait_queue"


def states(*kinds: tuple[str, str], first: int = 0, wall: float = NOW) -> RankStates:
    return RankStates(
        wall,
        tuple(
            RankState(
                100 + n, state, first + n, n, None if state == "running" else ASLEEP - n, wait
            )
            for n, (state, wait) in enumerate(kinds)
        ),
    )


RUNS, SLEEPS, POLLS = ("running", ""), ("sleeping", IN_FUTEX), ("sleeping", "do_poll")
NODES = (node("n1", ran=0.0), node("n2", ran=0.0))


def lines_of(one: RankStates, two: RankStates, *nodes: NodeNow) -> tuple[str, ...]:
    return rank_lines(nodes or NODES, HOSTS, 4, {"n1": one, "n2": two})


def test_the_one_that_sleeps_is_named() -> None:
    lines = lines_of(states(RUNS, RUNS, RUNS, SLEEPS), states(*[RUNS] * 4, first=4))
    assert lines == (
        "main thread sleeps in futex_wait_queue since 01:42:23 (4 min 57 s): rank 3 (n1); "
        "it is the only one of 8 ranks",
        "main thread runs: ranks 0-2, 4-7",
    )


def test_the_one_that_runs_or_waits_elsewhere_is_named() -> None:
    runs, sleep = lines_of(states(*[SLEEPS] * 4), states(SLEEPS, RUNS, SLEEPS, SLEEPS, first=4))
    assert runs == "main thread runs: rank 5 (n2); it is the only one of 8 ranks"
    assert sleep == (
        "main thread sleeps in futex_wait_queue since 01:42:26 (at least 4 min 54 s): "
        "ranks 0-4, 6-7"
    )
    odd, _ = lines_of(states(*[SLEEPS] * 4), states(SLEEPS, POLLS, SLEEPS, SLEEPS, first=4))
    assert odd.startswith("main thread sleeps in do_poll since ")
    assert odd.endswith("rank 5 (n2); it is the only one of 8 ranks")


def test_none_is_guessed_where_all_sleep_or_the_kernel_does_not_say() -> None:
    (line,) = lines_of(states(*[SLEEPS] * 4), states(*[SLEEPS] * 4, first=4))
    assert line.endswith("(at least 4 min 54 s): all 8 ranks")
    (line,) = lines_of(states(*[SLEEPS] * 4), states(SLEEPS, ("sleeping", ""), first=4))
    assert line.endswith("all 6 of 8 that are seen")
    assert " in " not in line
    two = {"n1": states(SLEEPS, RUNS)}
    assert not any("only one" in line for line in rank_lines(NODES[:1], HOSTS[:1], 2, two))


def test_stopped_and_waiting_for_a_file_system() -> None:
    stop, disk, run = lines_of(
        states(("disk-sleep", "nfs_wait_bit_killable"), RUNS, RUNS, RUNS),
        states(("stopped", ""), RUNS, RUNS, RUNS, first=4),
    )
    assert disk.startswith(
        "main thread waits for a disk, a file system or a driver in nfs_wait_bit_killable since "
    )
    assert stop.startswith("stopped by a signal (SIGSTOP) since ")
    assert stop.endswith(": rank 4 (n2)")
    assert run == "main thread runs: ranks 1-3, 5-7"


def test_beside_busy_gpus_running_threads_say_nothing() -> None:
    spinning = (node("n1", *[SPINS] * 4), node("n2", *[SPINS] * 4))
    running, other = states(*[RUNS] * 4), states(*[RUNS] * 4, first=4)
    assert len(lines_of(running, other, *spinning)) == 1
    gpus, odd, _ = lines_of(running, states(SLEEPS, RUNS, RUNS, RUNS, first=4), *spinning)
    assert gpus.startswith("GPU spins at low power")
    assert odd.endswith("rank 4 (n2); it is the only one of 8 ranks")


def test_files_of_another_time_or_none_leave_the_nodes_means() -> None:
    old, future = states(RUNS, wall=1e9 - 9), states(RUNS, wall=NOW + 999)
    assert lines_of(old, future) == ("the ranks' main threads sleep: on n1, n2",)
    lines = rank_lines(NODES, HOSTS, 4, {"n1": states(*[RUNS] * 4)})
    assert lines == (
        "main thread runs: all 4 of 8 that are seen",
        "the ranks' main threads sleep: on n2",
    )
    unnumbered = RankStates(NOW, (RankState(77, "running"), RankState(78, "running", None, 1)))
    (line,) = rank_lines(NODES[:1], ("n9", "n1"), 2, {"n1": unnumbered})[:1] or ("",)
    assert line == "main thread runs: all 2 of 4 that are seen"
