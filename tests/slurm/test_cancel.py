"""A job is cancelled only where Slurm says that it is mine and of this folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpclaunch.errors import JobFailed, UserError
from hpclaunch.launch.cancel import cancel
from hpclaunch.launch.current_job import allocation_comment
from hpclaunch.launch.local_process import runs_script
from tests.slurm.stand_ins import Commands, run


def test_a_cancel_that_is_refused_leaves_no_mark(commands: Commands, tmp_path: Path) -> None:
    folder, record = run(tmp_path)
    mine = f"echo '7|RUNNING|None|n1|1:00|{folder.script}'"
    commands(squeue=mine, scancel="echo 'scancel: error: Access/permission denied' >&2; exit 1")
    with pytest.raises(UserError, match="Access/permission denied"):
        cancel(folder, record)
    assert not folder.cancelled_file.exists()
    commands(squeue=mine, scancel="exit 0")
    cancel(folder, record)
    assert folder.cancelled_file.exists()


@pytest.mark.parametrize("script", ["/home/me/other.sbatch", "(null)", None])
def test_another_job_of_mine_is_left_alone(
    commands: Commands, tmp_path: Path, script: str | None
) -> None:
    folder, record = run(tmp_path)
    row = "true" if script is None else f"echo '7|RUNNING|None|n1|1:00|{script}'"
    commands(squeue=row, scancel="touch cancelled-anyway; exit 0")
    with pytest.raises(UserError, match="left alone"):
        cancel(folder, record)
    assert not folder.cancelled_file.exists()


@pytest.mark.parametrize("comment", ["(null)", "", "mine", "hpclaunch=/home/me/runs/other"])
def test_an_allocation_of_mine_that_a_record_names_is_left_alone(
    commands: Commands, tmp_path: Path, comment: str
) -> None:
    """Slurm names no script of an allocation: the comment that it was asked for with is held."""
    folder, record = run(tmp_path, mode="srun")
    row = "7|RUNNING|None|n1|1:00|(null)"
    answer = 'case "$*" in *%k*) echo "{}";; *) echo "{}";; esac'
    commands(squeue=answer.format(comment, row), scancel="exit 0")
    with pytest.raises(UserError, match="left alone"):
        cancel(folder, record)
    own = allocation_comment(folder, "a project")
    commands(squeue=answer.format(own, row), scancel="exit 0")
    cancel(folder, record)
    assert folder.cancelled_file.exists()


def test_an_allocation_whose_comment_the_site_has_rewritten_is_known_by_its_process(
    commands: Commands, tmp_path: Path
) -> None:
    folder, record = run(tmp_path, mode="srun")
    row = "7|RUNNING|None|n1|1:00|(null)"
    answer = f'case "$*" in *%k*) echo "charged to lab 7";; *) echo "{row}";; esac'
    commands(squeue=answer, scancel="exit 0")
    folder.script.write_text("read -r _\n")
    for job, known in (("70", False), ("7", True)):
        with subprocess.Popen(
            ["bash", str(folder.script)], env={"SLURM_JOB_ID": job}, stdin=subprocess.PIPE
        ) as process:
            assert runs_script(folder, "7") is known
            if known:
                cancel(folder, record)
            else:
                with pytest.raises(UserError, match="left alone"):
                    cancel(folder, record)
            process.kill()
    assert folder.cancelled_file.exists()


def test_only_the_task_of_an_array_that_is_this_run_is_cancelled(
    commands: Commands, tmp_path: Path
) -> None:
    folder, record = run(tmp_path, group="many", job_id="7_1")
    tasks = tmp_path / "many/tasks"
    tasks.mkdir(parents=True)
    script = tmp_path / "many/array.sbatch"
    commands(squeue=f"echo '7_1|RUNNING|None|n1|1:00|{script}'", scancel="exit 0")
    (tasks / "1").symlink_to("../../other")
    with pytest.raises(UserError, match="left alone"):
        cancel(folder, record)
    (tasks / "1").unlink()
    (tasks / "1").symlink_to("../../run")
    cancel(folder, record)


def test_a_cancel_without_an_answer(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpclaunch.slurm.batch.ASK_TIMEOUT", 0.2)
    folder, record = run(tmp_path)
    mine = f"echo '7|RUNNING|None|n1|1:00|{folder.script}'"
    commands(squeue=mine, scancel="sleep 5")
    with pytest.raises(JobFailed, match="does not answer"):
        cancel(folder, record)
