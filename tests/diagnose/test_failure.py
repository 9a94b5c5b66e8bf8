"""Which rank failed first, read from what a failed run leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.diagnose.causes import first_cause, gather_evidence
from hpclaunch.diagnose.log import read
from hpclaunch.diagnose.rank_failure import RankFailure
from hpclaunch.diagnose.ranks import failed_ranks
from hpclaunch.diagnose.state import run_state
from hpclaunch.diagnose.status import status
from hpclaunch.run.folder import RunFolder
from tests.diagnose import messages
from tests.diagnose.failed_runs import FailedRun, error_file, traceback
from tests.run.making import record, run_in


def ranks_of(folder: RunFolder) -> tuple[RankFailure, ...]:
    return failed_ranks(folder, read(folder.log()), 2)


@pytest.mark.parametrize("first", [0, 1])
def test_the_node_that_failed_first_gives_the_cause(tmp_path: Path, first: int) -> None:
    words = {node * 2 + 1: traceback(f"my.package.OddError: node {node} fell") for node in (0, 1)}
    FailedRun(ranks=words, exits=dict.fromkeys(words, 1), first=first).write(RunFolder(tmp_path))
    rank = ranks_of(RunFolder(tmp_path))[0]
    assert rank.error == f"my.package.OddError: node {first} fell"
    assert (rank.rank, rank.host, rank.code) == (first * 2 + 1, f"node{first + 1}", 1)


def test_the_launchers_block_alone_names_the_rank(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    FailedRun(exits={3: 5}).write(folder)
    log = folder.logs / "job-8.out"
    lines = [line for line in log.read_text().splitlines() if "failed (exitcode" not in line]
    log.write_text("\n".join(lines))
    (rank,) = ranks_of(folder)
    assert (rank.rank, rank.host, rank.error) == (3, "node2", "exit code 5")


def test_error_files_come_by_time_and_collateral_ones_last(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    error_file(folder, 0, time=1.0, collateral=True)
    error_file(folder, 1, time=2.0, error=messages.PEER_CLOSED)
    error_file(folder, 3, time=4.0, error="UserError: no GPU here", fix="ask for one")
    error_file(folder, 2, time=5.0)
    folder.rank_error(9).write_text("{torn")
    assert [rank.rank for rank in ranks_of(folder)] == [3, 2, 0, 1]
    assert ranks_of(folder)[0].error == "no GPU here"


def test_the_newest_attempt_counts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    FailedRun(ranks={0: traceback("ValueError: old")}).write(folder)
    newer = folder.logs / "ranks/node-0/none_x2/attempt_0/1"
    newer.mkdir(parents=True)
    (newer / "stderr.log").write_text(traceback("ValueError: new"))
    import os

    os.utime(folder.logs / "ranks/node-0/none_x1/attempt_0", (1, 1))
    assert [rank.error for rank in ranks_of(folder)] == ["ValueError: new"]


def test_status_carries_the_first_line(tmp_path: Path) -> None:
    folder = run_in(tmp_path / "tiny-1", processes_per_node=2, program=["x"])
    assert status(folder, record()).failure is None
    FailedRun(ranks={3: traceback("ValueError: x")}, exits={3: 1}, first=1).write(folder)
    folder.exit_code_file.write_text("1\n")
    failure = status(folder, record(processes_per_node=2)).failure
    assert failure is not None
    assert (failure.rank, failure.host, failure.error) == (3, "node2", "ValueError: x")
    assert failure.file is not None
    assert failure.file.name == "stderr.log"
    folder.cancelled_file.write_text("ada on login1, with hpclaunch cancel\n")
    failure = status(folder, record(processes_per_node=2)).failure
    assert failure is not None
    assert failure.error == "cancelled by ada on login1, with hpclaunch cancel"


@pytest.mark.parametrize("code", ["", "\0\0", "x"])
def test_a_damaged_exit_code_is_no_run_that_was_never_started(tmp_path: Path, code: str) -> None:
    folder = run_in(tmp_path / "a", mode="local", processes_per_node=2)
    FailedRun(ranks={1: traceback("ValueError: fell")}, exits={1: 1}).write(folder)
    folder.exit_code_file.write_text(code)
    kept = record(name="a", mode="local", processes_per_node=2)
    found = run_state(folder, kept)
    assert (found.state, "is damaged" in found.reason) == ("unknown", True)
    assert first_cause(gather_evidence(folder, kept, found)).headline == "ValueError: fell"
