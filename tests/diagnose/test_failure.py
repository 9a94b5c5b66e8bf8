"""The first failure, read from what a failed run leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpclaunch.diagnose.failure import first_failure
from hpclaunch.run.folder import RunFolder

TORCHRUN = """\
{node}: torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
{node}: Root Cause (first observed failure):
{node}: [0]:
{node}:   time      : 2026-11-21_02:21:41
{node}:   host      : {host}
{node}:   rank      : {rank} (local_rank: {local})
{node}:   exitcode  : {code} (pid: 1594)
{node}:   error_file: <N/A>
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path)
    found.logs.mkdir()
    return found


def two_nodes_failed(folder: RunFolder, first: int) -> None:
    """Both launchers name a cause; node `first` was the first to fail."""
    blocks = [
        TORCHRUN.format(node=node, host=f"n{node}", rank=node * 2 + 1, local=1, code=1)
        for node in (0, 1)
    ]
    (folder.logs / "job-1.out").write_text("".join(blocks))
    folder.first_failure.write_text(f"1 {first} n{first}\n")
    for node in (0, 1):
        place = folder.logs / f"ranks/node-{node}/none_x/attempt_0/1"
        place.mkdir(parents=True)
        last = f"[rank{node * 2 + 1}]: my.package.OddError: node {node} fell\n"
        (place / "stderr.log").write_text(f"[rank1]: Traceback\n[rank1]:   raise\n{last}")


@pytest.mark.parametrize("first", [0, 1])
def test_the_node_that_failed_first_gives_the_cause(folder: RunFolder, first: int) -> None:
    two_nodes_failed(folder, first)
    failure = first_failure(folder)
    assert failure is not None
    assert failure.error == f"my.package.OddError: node {first} fell"
    assert failure.rank == first * 2 + 1
    assert failure.host == f"n{first}"


def test_a_rank_that_died_without_a_word(folder: RunFolder) -> None:
    block = TORCHRUN.format(node=0, host="n0", rank=3, local=3, code=-9)
    (folder.logs / "job-1.out").write_text(block)
    failure = first_failure(folder)
    assert failure is not None
    assert (failure.rank, failure.error) == (3, "exit code -9")


def test_the_scripts_own_words(folder: RunFolder) -> None:
    (folder.logs / "job-1.out").write_text("0: hpclaunch: n1 gives GPUs 0,1, 4 were asked for\n")
    failure = first_failure(folder)
    assert failure is not None
    assert "4 were asked for" in failure.error


def test_nothing_is_made_up(folder: RunFolder) -> None:
    assert first_failure(folder) is None
    (folder.logs / "job-1.out").write_text("0: [gpu0]: step 1\n")
    assert first_failure(folder) is None


@given(log=st.binary(max_size=400), mark=st.binary(max_size=20), error=st.binary(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_garbage_is_survived(folder: RunFolder, log: bytes, mark: bytes, error: bytes) -> None:
    head = b"0: Root Cause (first observed failure):\n"
    (folder.logs / "job-1.out").write_bytes(head + log)
    folder.first_failure.write_bytes(mark)
    folder.rank_error(0).write_bytes(error)
    first_failure(folder)
