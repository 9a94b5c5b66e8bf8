"""Which ranks' main threads sleep: the file that says it, and when it is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monitors.recorder import rank_watch
from monitors.recorder.rank_watch import RankWatch, waits_in
from monitors.recorder.ranks import RankFiles, RankTimes
from monitors.storage.rank_states import MOST_BYTES, RankState, RankStates, read_rank_states

WALL = 1e9
"""Wall-clock time at 0 s of the monotonic clock."""


class Node:
    """A node with four ranks, read once a second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watch = RankWatch(folder, "n1", folder / "proc")
        self.ran = dict.fromkeys(range(4), 0.0)
        self.mono = 0.0
        self.written: list[float] = []
        """When the file was replaced."""
        self._inode = 0

    def run(
        self, seconds: int, *asleep: int, letter: str = "S", gone: tuple[int, ...] = ()
    ) -> None:
        """Let time pass, in which all ranks run but for those asleep."""
        for _ in range(seconds):
            self.mono += 1
            ranks: dict[int, RankTimes] = {}
            for rank in self.ran:
                self.ran[rank] += 0.01 if rank in asleep else 0.3
                times = RankTimes(self.ran[rank], 0.0, 0.0, letter if rank in asleep else "R", rank)
                ranks |= {} if rank in gone else {100 + rank: times}
            self.watch.update(ranks, WALL + self.mono, self.mono)
            file = self.folder / "n1.ranks.json"
            inode = file.stat().st_mtime_ns if file.exists() else 0
            if inode != self._inode:
                self._inode = inode
                self.written.append(self.mono)

    @property
    def states(self) -> dict[int | None, tuple[str, float | None]]:
        found = read_rank_states(self.folder, "n1")
        assert found is not None
        return {rank.rank: (rank.state, rank.since) for rank in found.ranks}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_file_is_written_when_the_sleeping_ranks_change_and_not_else(node: Node) -> None:
    node.run(100)
    assert node.states == dict.fromkeys(range(4), ("running", None))
    assert node.written == [1]
    node.run(100, 3)
    asleep = node.states
    assert asleep[3] == ("sleeping", WALL + 100)
    assert asleep[0] == ("running", None)
    assert node.written == [1, 120]
    node.run(5)
    assert node.states[3] == ("running", None), "it is awake again: not only after a while"
    assert node.written == [1, 120, 201]
    node.run(5, gone=(3,))
    node.run(10, gone=(3,))
    assert 3 not in node.states
    assert not list(node.folder.glob("*.new"))


def test_sleeping_for_a_part_of_each_step_is_running(node: Node) -> None:
    for _ in range(10):
        node.run(15, 0, 1, 2, 3)
        node.run(3)
    assert node.written == [1]


@pytest.mark.parametrize(("letter", "state"), [("D", "disk-sleep"), ("T", "stopped")])
def test_stopped_and_uninterruptible(node: Node, letter: str, state: str) -> None:
    node.run(40, 2)
    assert node.states[2] == ("sleeping", WALL + 1), "the reading before is the first"
    node.run(40, 2, letter=letter)
    assert node.states[2] == (state, WALL + 41)


def test_a_file_that_is_no_longer_true_is_removed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(122, "Disk quota exceeded")

    node.run(50, 1)
    with monkeypatch.context() as patch:
        patch.setattr(rank_watch, "write_rank_states", full)
        node.run(2)
    assert read_rank_states(node.folder, "n1") is None
    node.run(20)
    assert node.states[1] == ("running", None), "tried again"
    RankWatch(node.folder, "n1")
    assert read_rank_states(node.folder, "n1") is None, "an earlier start's"


def test_real_ranks_one_asleep_and_one_stopped(tmp_path: Path) -> None:
    own = {"MONITORED_BY": str(os.getpid())}
    code = "import time; print(flush=True); time.sleep(60)"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **own, "LOCAL_RANK": str(n), "RANK": str(4 + n)},
            stdout=subprocess.PIPE,
        )
        for n in range(2)
    ]
    try:
        for process in ranks:
            assert process.stdout is not None
            process.stdout.readline()
        ranks[1].send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, ranks[1].pid, os.WSTOPPED)
        files, watch = RankFiles(Path("/"), own), RankWatch(tmp_path, "n1")
        for second in (0, 20, 40):  # the clock alone need not be real
            watch.update(files.read(), WALL + second, second)
        found = read_rank_states(tmp_path, "n1")
    finally:
        for process in ranks:
            process.kill()
            process.communicate()
    assert found is not None
    asleep, stopped = sorted(found.ranks, key=lambda rank: rank.local_rank or 0)
    assert (asleep.rank, asleep.local_rank, asleep.pid) == (4, 0, ranks[0].pid)
    assert (asleep.state, asleep.since) == ("sleeping", WALL)
    assert "nanosleep" in asleep.wait or asleep.wait == "", "'' where the kernel does not say"
    assert (stopped.rank, stopped.state) == (5, "stopped")


def test_what_the_kernel_says(tmp_path: Path) -> None:
    assert waits_in(tmp_path) == ""
    (tmp_path / "syscall").write_text("202 0x7f 0x80\n")
    assert waits_in(tmp_path, "x86_64") == "futex"
    assert waits_in(tmp_path, "riscv64") == ""
    (tmp_path / "syscall").write_text("running\n")
    assert waits_in(tmp_path, "x86_64") == ""
    (tmp_path / "wchan").write_text("0")
    assert waits_in(tmp_path, "x86_64") == ""
    (tmp_path / "wchan").write_text("nfs_wait_bit_killable")
    assert waits_in(tmp_path, "x86_64") == "nfs_wait_bit_killable"


def test_a_file_that_somebody_else_put_there(tmp_path: Path) -> None:
    file = tmp_path / "n1.ranks.json"
    one = '{"pid": 7, "state": "sleeping", "rank": true, "since": NaN, "wait": "\\u001b[2J"}'
    file.write_text(f'{{"wall": 1, "ranks": [{one}]}}')
    assert read_rank_states(tmp_path, "n1") == RankStates(1.0, (RankState(7, "sleeping"),))
    for text in (
        "", "[]", "{}", "[" * 100_000, '{"wall": 1, "ranks": [7]}', '{"wall": 1e99, "ranks": []}',
        '{"wall": 1, "ranks": [{"pid": 7, "state": []}]}', '{"wall": 1, "ranks": [{"pid": -1}]}',
        '{"wall": 1, "ranks": []}' + " " * MOST_BYTES,
    ):  # fmt: skip
        file.write_text(text)
        assert read_rank_states(tmp_path, "n1") is None, text[:50]
    file.unlink()
    os.mkfifo(file)
    assert read_rank_states(tmp_path, "n1") is None
