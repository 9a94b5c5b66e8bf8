"""The times of ranks: found among the processes of a pretended /proc, and of real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitors.recorder.host import HostSampler
from monitors.recorder.procfs import HostFiles
from monitors.recorder.ranks import RankFiles

JOB = {"SLURM_JOB_ID": "7", "SLURM_NODEID": "1"}


class Proc:
    """A pretended /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def process(
        self,
        pid: int,
        variables: dict[str, str],
        *,
        parent: int = 1,
        name: str = "python (x) y",
    ) -> None:
        folder = self.root / "proc" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        given = {"PATH": "/bin", **variables}
        words = "\0".join(f"{key}={value}" for key, value in given.items())
        (folder / "environ").write_text(words + "\0")
        self.times(pid, 0, 0, parent=parent, name=name)

    def times(
        self, pid: int, ran_s: float, queued_s: float, *, parent: int = 1, name: str = "p"
    ) -> None:
        folder = self.root / "proc" / str(pid)
        rest = f"{parent} 1 1 0 -1 0 0 0 0 0 {int(ran_s * 100)} {int(ran_s * 100)} 0 0 20 0"
        (folder / "stat").write_text(f"{pid} ({name}) S {rest}\n")
        (folder / "schedstat").write_text(f"{int(ran_s * 1e9)} {int(queued_s * 1e9)} 5\n")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def found(proc: Proc, **environment: str) -> set[int]:
    return set(RankFiles(proc.root, environment or JOB).read())


def test_ranks_are_those_of_this_job_and_node_without_what_they_started(proc: Proc) -> None:
    mine = {**JOB, "LOCAL_RANK": "0"}
    proc.process(10, JOB)  # the launcher
    proc.process(11, mine, parent=10)
    proc.process(12, mine, parent=11)  # its loader's worker
    proc.process(13, {**JOB, "LOCAL_RANK": "1"}, parent=10)
    proc.process(14, {**mine, "SLURM_JOB_ID": "8"}, parent=10)
    proc.process(15, {**mine, "SLURM_NODEID": "0"}, parent=10)
    proc.process(16, mine, parent=10, name="bash")  # a script around the rank
    proc.process(17, mine, parent=16)
    (proc.root / "proc/uptime").write_text("1")
    assert found(proc) == {11, 13, 17}


def test_who_a_rank_is_stands_in_its_environment(proc: Proc) -> None:
    proc.process(11, {**JOB, "LOCAL_RANK": "1", "RANK": "5"})
    proc.process(12, {**JOB, "LOCAL_RANK": "2"})
    proc.process(13, {**JOB, "LOCAL_RANK": "-1", "RANK": "9" * 99})
    ranks = RankFiles(proc.root, JOB).read()
    numbers = {pid: (times.rank, times.local_rank) for pid, times in ranks.items()}
    assert numbers == {11: (5, 1), 12: (None, 2), 13: (None, None)}
    assert {times.letter for times in ranks.values()} == {"S"}


def test_without_a_job_nobody_knows_whose_ranks_they_are(proc: Proc) -> None:
    proc.process(11, {"LOCAL_RANK": "0"})
    assert found(proc, HOME="/root") == set()
    proc.process(12, {"LOCAL_RANK": "0", "MONITORED_BY": "99"})
    assert found(proc, MONITORED_BY="99") == {12}


def test_shares_of_the_time_are_means_over_the_ranks(proc: Proc) -> None:
    for pid in (11, 12):
        proc.process(pid, {**JOB, "LOCAL_RANK": str(pid)})
        proc.times(pid, 100, 50)

    class Clock:
        now = 5.0

        def wall(self) -> float:
            return 0

        def mono(self) -> float:
            return self.now

        def wait(self, seconds: float) -> None:
            return None

    clock = Clock()
    sampler = HostSampler(HostFiles(proc.root, JOB), clock)
    proc.times(11, 101, 50)
    proc.times(12, 100.5, 51)
    clock.now += 2
    sample = sampler.sample()[0]
    assert (sample.rank_ran_pct, sample.rank_queued_pct) == (38, 25)
    assert sample.rank_cpu_pct == 75, "all threads: user and system time"
    # One has ended, another is new and has no reading before: of it nothing is known yet.
    (proc.root / "proc/11/schedstat").write_text("")
    (proc.root / "proc/12/stat").write_text("12 (x) Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0\n")
    clock.now += 1
    sample = sampler.sample()[0]
    assert (sample.rank_ran_pct, sample.rank_queued_pct, sample.rank_cpu_pct) == (None, None, None)


def test_garbage_is_no_rank(proc: Proc) -> None:
    proc.process(11, {**JOB, "LOCAL_RANK": "0"})
    (proc.root / "proc/11/stat").write_text("11")
    proc.process(12, {**JOB, "LOCAL_RANK": "1"})
    (proc.root / "proc/12/schedstat").write_text("many\n")
    assert found(proc) == set()


LOOP = "while True: pass"


@pytest.mark.parametrize(("code", "busy"), [(LOOP, True), ("import time; time.sleep(60)", False)])
def test_a_real_process(code: str, busy: bool) -> None:
    own = {"MONITORED_BY": str(os.getpid()), "LOCAL_RANK": "0"}
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **own}) as process:
        time.sleep(1)
        files = RankFiles(Path("/"), own)
        before = files.read()[process.pid]
        time.sleep(1)
        after = files.read()[process.pid]
        process.kill()
    wanted = after.ran_s - before.ran_s + after.queued_s - before.queued_s
    assert wanted > 0.8 if busy else wanted < 0.2
