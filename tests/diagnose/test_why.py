"""Each cause is told from the words that it really leaves, and from its consequences."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.run.folder import RunFolder
from tests.diagnose import messages
from tests.diagnose.failed_runs import FailedRun, ask, error_file, traceback
from tests.diagnose.stories import STORIES


@pytest.mark.parametrize("name", STORIES)
def test_the_cause_is_told(name: str, tmp_path: Path) -> None:
    failed_run, kind, rank, host, headline, step = STORIES[name]
    found = failed_run.ask(tmp_path)
    cause = found.cause
    assert (cause.kind, cause.rank, cause.host) == (kind, rank, host), cause
    assert headline in cause.headline
    assert any(step in line for line in cause.advice), cause.advice
    for clue in cause.evidence:
        assert clue.text
        if clue.file is not None and clue.line is not None:
            text = clue.file.read_text().splitlines()[clue.line - 1]
            assert clue.text.strip() in text


def test_a_sign_that_the_program_survived_is_not_the_cause(tmp_path: Path) -> None:
    caught = f"{traceback(messages.DISK_FULL)}\ncaught, going on\n{messages.NO_CUDA}\n"
    ranks = {1: caught + traceback("ValueError: x"), 0: messages.NO_CUDA}
    found = FailedRun(ranks=ranks, exits={1: 1}).ask(tmp_path)
    assert (found.cause.kind, found.cause.rank) == ("exception", 1)
    assert [clue.line for clue in found.cause.evidence] == [8, 9, 10]


def test_an_exception_raised_while_another_was_handled(tmp_path: Path) -> None:
    chained = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
    words = traceback(messages.DISK_FULL) + chained + traceback(messages.TORN_WRITE)
    found = FailedRun(ranks={1: words}, exits={1: 1}).ask(tmp_path)
    assert (found.cause.kind, found.cause.rank) == ("disk-full", 1)
    assert "writing /scratch/ada/runs/x/a.pt" in found.cause.headline


def test_what_a_rank_said_before_the_time_limit_is_told_beside_it(tmp_path: Path) -> None:
    ranks = {3: traceback("ValueError: x")}
    failed_run = FailedRun(log=messages.TIME_LIMIT, ranks=ranks, state="timed out", slurm="TIMEOUT")
    found = failed_run.ask(tmp_path)
    assert found.cause.kind == "time-limit"
    assert [other.line for other in found.also] == ["rank 3 on node2: ValueError: x"]


def test_of_a_requeued_job_the_last_start_counts(tmp_path: Path) -> None:
    before = f"{messages.OOM_KILL}{messages.NODE_FAILURE}{messages.REQUEUED}"
    log = f"{before}0: [gpu0]:a\n1: hpclaunch: odd; mend it"
    found = FailedRun(log=log).ask(tmp_path)
    assert (found.cause.kind, found.cause.headline) == ("script", "odd")
    assert found.cause.evidence[0].line == len(log.splitlines())


def test_a_start_after_a_lost_node_has_causes_of_its_own(tmp_path: Path) -> None:
    """Slurm requeues such a job without a word of it; the script says where it begins."""
    begin = "hpclaunch: job 8, start {}\n"
    log = f"{begin.format(1)}{messages.NODE_FAILURE}{begin.format(2)}1: hpclaunch: odd; mend it"
    found = FailedRun(log=log).ask(tmp_path)
    assert (found.cause.kind, found.cause.headline) == ("script", "odd")
    (tmp_path / "first").mkdir()
    found = FailedRun(log=f"{begin.format(1)}{messages.NODE_FAILURE}").ask(tmp_path / "first")
    assert found.cause.kind == "node-failure"


def test_a_job_whose_log_slurm_could_not_open(tmp_path: Path) -> None:
    failed_run, folder = FailedRun(code=181), RunFolder(tmp_path)
    failed_run.write(folder)
    (folder.logs / "job-8.out").unlink()
    assert ask(folder, failed_run).cause.kind == "not-shared"


def test_a_local_run_that_was_started_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    failed_run = FailedRun(exits={1: -9}, record={"mode": "local"})
    failed_run.write(folder)
    log = folder.logs / "job-8.out"
    log.write_text(log.read_text().replace("2026-11-21", "2020-11-21"))
    assert ask(folder, failed_run).cause.kind == "unknown", "that was an earlier start"
    log.write_text(f"{log.read_text()}0: hpclaunch: odd; mend it\n")
    cause = ask(folder, failed_run).cause
    assert (cause.kind, cause.headline) == ("script", "odd")
    folder.nodes.unlink()
    assert ask(folder, failed_run).cause.kind == "killed"


def test_the_trainers_own_record_of_a_failure(tmp_path: Path) -> None:
    folder, failed_run = RunFolder(tmp_path), FailedRun(exits={2: 1}, first=1, program=False)
    failed_run.write(folder)
    error_file(folder, 0, error=messages.PEER_CLOSED, collateral=True, time=1.0)
    words = traceback("hpclaunch.errors.UserError: no room for 2 tokens; set max_length")
    error_file(folder, 2, error="no room for 2 tokens", fix="set max_length", traceback=words)
    cause = ask(folder, failed_run).cause
    assert (cause.kind, cause.line) == ("exception", "rank 2 on node2: no room for 2 tokens")
    assert cause.advice[0] == "set max_length"
    assert cause.evidence[0].text.startswith('File "/home/ada/train.py", line 11')
    assert cause.evidence[0].time


@pytest.mark.parametrize(
    ("log", "advised"),
    [
        ("Node failure on n1$(id)", "scontrol show node 'n1$(id)'"),
        ("Node failure on --all", "scontrol show node ./--all"),
        ("slurmstepd: error: execve(): -x;id: Exec format error", "file -L './-x;id'"),
    ],
)
def test_no_word_of_a_log_is_a_command_or_an_option(log: str, advised: str, tmp_path: Path) -> None:
    found = FailedRun(log=log).ask(tmp_path)
    assert any(advised in step for step in found.cause.advice), found.cause
