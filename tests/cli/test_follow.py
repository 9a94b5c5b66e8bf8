"""What a command prints while it follows a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.cli.follow import printer, state_printer
from hpclaunch.run.lines import parse_line
from hpclaunch.slurm.jobs import JobState
from tests.run.making import record, run_in
from tests.run.test_launcher import STORE


def test_what_a_waiting_job_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    show = state_printer(record(job_id="7"))
    show(JobState("PENDING"))
    show(JobState("PENDING", None, "PartitionTimeLimit"))
    show(JobState("PENDING", None, "PartitionTimeLimit"))
    show(JobState("RUNNING"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "hpclaunch: job 7: pending"
    assert "job 7: pending (PartitionTimeLimit): its --time is over the partition's" in lines[1]
    assert [len(lines), lines[2]] == [3, "hpclaunch: job 7: running"]


def test_a_line_of_one_node_names_its_process_and_torchs_own_stack_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_in(tmp_path / "one", nodes=1, processes_per_node=2)
    show = printer(folder, record(nodes=1, processes_per_node=2))
    for text in ("0: [gpu0]:step 1", "0: [gpu1]:step 1", *STORE.splitlines()):
        show(parse_line(text))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["gpu0 | step 1", "gpu1 | step 1"]
    assert not any("frame #" in line or "Exception raised" in line for line in lines)
