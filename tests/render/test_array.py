"""The script of a job array, and what each of its tasks takes for its own job."""

from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import Resources
from hpclaunch.render.array import array_script
from hpclaunch.render.job import Job
from hpclaunch.run.folder import RunFolder
from tests.render.shell import in_folder, stand_in
from tests.render.standins import write_script

ARRAY = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}


def job(time: str = "1:00:00") -> Job:
    resources = Resources(cpu_processes=1, time=time)
    return draft(Request(recipe="tiny", name="r", site="generic", resources=resources))


def test_the_array_requests_what_its_runs_do(tmp_path: Path) -> None:
    script = array_script({0: job(), 1: job(), 4: job()}, tmp_path / "sw", 2)
    header = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --job-name=sw" in header and "#SBATCH --array=0-1,4%2" in header
    assert f"#SBATCH --output={tmp_path}/sw/tasks/%a/logs/job-%j.out" in header
    assert any(line.startswith("#SBATCH --signal=B:USR1@") for line in header)
    assert [line for line in header if "--time=1:00:00" in line]
    assert sum("--job-name" in line or "--output" in line for line in header) == 2


def test_runs_that_request_different_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="different things of Slurm"):
        array_script({0: job(), 1: job("2:00:00")}, tmp_path, 2)


def test_a_task_names_itself_and_not_the_whole_array(folder: RunFolder, tmp_path: Path) -> None:
    """Its own number may be the array's, which Slurm's commands take for all of its tasks."""
    stand_in(tmp_path, "squeue", f'echo "$@" >>{tmp_path}/calls; exit 1')
    stand_in(tmp_path, "python", f'echo "$@" >>{tmp_path}/calls; exit 1')
    stand_in(tmp_path, "scontrol", f'echo "$@" >>{tmp_path}/calls; echo n1')
    stand_in(tmp_path, "sleep", "exit 0")
    lines = "begin --max-restarts 5\nrequeue=paused\nexit 1\n"
    write_script(folder, f'source "$HPCLAUNCH_RUN/launch.sh" slurm\n{lines}')
    in_folder(folder, ["bash", str(folder.script)], **ARRAY)
    assert folder.job_file.read_text() == "7_2\n"
    assert folder.attempt_file.read_text() == "7_2.0\n"
    calls = (tmp_path / "calls").read_text()
    assert "requeue 7_2" in calls
    assert "--job 7_2" in calls and "--job 9" not in calls
