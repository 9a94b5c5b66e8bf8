"""What a command prints while it follows a job."""

from __future__ import annotations

import pytest

from hpclaunch.cli.follow import state_printer
from hpclaunch.slurm.jobs import JobState
from tests.run.making import record


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
