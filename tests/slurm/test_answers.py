"""What Slurm's commands say of a job, and that silence is no answer: through stand-ins on PATH."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from hpclaunch.diagnose.state import run_state
from hpclaunch.diagnose.why import why
from hpclaunch.errors import JobFailed, UserError
from hpclaunch.launch.cancel import cancel
from hpclaunch.launch.local_process import alive
from hpclaunch.run.processes import started
from hpclaunch.slurm import batch, jobs
from hpclaunch.slurm import commands as slurm
from hpclaunch.slurm.jobs import NO_ANSWER, JobState, job_states
from hpclaunch.slurm.requeue import requeue
from tests.slurm.stand_ins import Commands, run

GONE = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"


RUNNING = JobState("RUNNING", None, "", "n[1-2]", "1:00")
PENDING = JobState("PENDING", None, "Priority", "", "1:00")
KILLED = JobState("OUT_OF_MEMORY", 253, "", "n1")
SILENT = "echo 'Unable to contact slurm controller' >&2; exit 1"


@pytest.mark.parametrize(
    ("squeue", "sacct", "expected"),
    [
        ("echo '7|RUNNING|None|n[1-2]|1:00'", "exit 1", RUNNING),
        ("echo '7|PENDING|Priority||1:00'", "exit 1", PENDING),
        (GONE, "echo '7|CANCELLED by 1000|0:15|n1'", JobState("CANCELLED", 143, "", "n1")),
        (GONE, "echo '7|OUT_OF_MEMORY|0:125|n1'", KILLED),
        (GONE, "echo '7|NODE_FAIL|1:0|n1'", JobState("NODE_FAIL", 1, "", "n1")),
        (GONE, "true", None),
        (SILENT, "exit 1", JobState(NO_ANSWER)),
        (SILENT, "echo '7|COMPLETED|0:0|n1'", JobState("COMPLETED", 0, "", "n1")),
    ],
)
def test_slurms_answers(
    commands: Commands, squeue: str, sacct: str, expected: JobState | None
) -> None:
    commands(squeue=squeue, sacct=sacct)
    assert job_states(["7"]).get("7") == expected


@pytest.mark.parametrize("slurms", ["EXPEDITING", "RESV_DEL_HOLD", "REQUEUE_HOLD"])
def test_a_job_that_goes_back_into_the_queue(
    commands: Commands, tmp_path: Path, slurms: str
) -> None:
    """EXPEDITING came with 25.11. The exit code is that of the attempt before."""
    commands(squeue=f"echo '7|{slurms}|BeginTime||1:00'")
    folder, record = run(tmp_path)
    folder.exit_code_file.write_text("1\n")
    assert run_state(folder, record).state == "queued"


def test_what_a_user_writes_is_no_state(commands: Commands) -> None:
    """Slurm prints comments as they are, after its own fields."""
    commands(
        squeue="echo '7|COMPLETED|None|n1|0:00'",
        scontrol="echo 'JobId=7 JobName=a JobState=COMPLETED Reason=None ExitCode=0:0 NodeList=n1 "
        "Comment=try JobState=FAILED ExitCode=3:0 NodeList=n9'",
    )
    assert job_states(["7"])["7"] == JobState("COMPLETED", 0, "", "n1")


def test_a_slurm_that_hangs_is_waited_for_once(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "ASK_TIMEOUT", 1.5)
    monkeypatch.setattr(slurm, "SLOW_ANSWER_S", 1.0)
    monkeypatch.setattr(jobs, "SLOW_ANSWER_S", 1.0)
    commands(squeue="exec sleep 60", scontrol="exec sleep 60", sacct="exec sleep 60")
    began = time.monotonic()
    assert job_states(["7"]) == {"7": JobState(NO_ANSWER)}
    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize(
    ("state", "code", "expected", "reason"),
    [
        ("TIMEOUT", None, "timed out", ""),
        ("TIMEOUT", "143", "timed out", ""),
        ("DEADLINE", None, "timed out", ""),
        ("CANCELLED", "143", "cancelled", ""),
        ("OUT_OF_MEMORY", "1", "failed", "out of memory"),
        ("NODE_FAIL", None, "failed", "node fail"),
        ("FAILED", "3", "failed", ""),
        ("COMPLETED", "0", "done", ""),
        ("CANCELLED", "0", "done", ""),  # the allocation ended after the run in it
    ],
)
def test_the_state_of_a_run(
    commands: Commands, tmp_path: Path, state: str, code: str | None, expected: str, reason: str
) -> None:
    commands(squeue=GONE, sacct=f"echo '7|{state}|1:0|n1'")
    folder, record = run(tmp_path)
    if code is not None:
        folder.exit_code_file.write_text(f"{code}\n")
    found = run_state(folder, record)
    assert (found.state, found.reason) == (expected, reason)


def test_silence_is_no_end(commands: Commands, tmp_path: Path) -> None:
    commands()
    folder, record = run(tmp_path)
    found = run_state(folder, record)
    assert (found.state, found.reason, found.slurm) == ("unknown", "Slurm does not answer", None)
    folder.exit_code_file.write_text("0\n")
    assert run_state(folder, record).state == "done"


def test_a_number_used_again_is_another_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = started(process.pid)
        assert began is not None
        folder, same = run(tmp_path, mode="local", job_id=None, pid=process.pid, pid_started=began)
        assert alive(same)
        assert run_state(folder, same).state == "running"
        other = msgspec.structs.replace(same, pid_started=began - 1)
        assert not alive(other)
        assert run_state(folder, other).state == "failed"
        with pytest.raises(UserError, match="has ended"):
            cancel(folder, other)
        assert process.poll() is None, "it was not ours to end"
        process.kill()
    assert not alive(same)


def test_a_run_on_another_machine(tmp_path: Path) -> None:
    folder, record = run(tmp_path, mode="local", job_id=None, pid=1, host="elsewhere")
    assert run_state(folder, record).state == "unknown"
    with pytest.raises(UserError, match="elsewhere"):
        cancel(folder, record)


ONCE = """\
[ -e {folder}/tried ] || {{ touch {folder}/tried; echo busy >&2; exit 1; }}
{then}"""


def test_a_question_that_fails_once_is_asked_again(commands: Commands, tmp_path: Path) -> None:
    commands(squeue=ONCE.format(folder=tmp_path, then="echo '7|RUNNING|None|n[1-2]|1:00'"))
    assert job_states(["7"]) == {"7": RUNNING}


@pytest.mark.parametrize(
    ("printed", "job"),
    [
        ("10", "10"),
        ("10;cluster", "10"),
        ("*** Welcome to Deep Thought ***\n10", "10"),
        ("10;thought\n*** 42 nodes are down ***", "10"),
        ("Submitted batch job 10", "10"),
    ],
)
def test_the_job_number_is_found_among_a_sites_greetings(
    commands: Commands, tmp_path: Path, printed: str, job: str
) -> None:
    (tmp_path / "printed").write_text(printed)
    commands(sbatch=f"cat {tmp_path}/printed")
    assert batch.submit(tmp_path / "job.sbatch", tmp_path) == job


def test_a_submission_without_a_job_number_is_no_success(
    commands: Commands, tmp_path: Path
) -> None:
    commands(sbatch="echo hello")
    with pytest.raises(JobFailed, match="named no job number; look for it with 'squeue --me'"):
        batch.submit(tmp_path / "job.sbatch", tmp_path)


def test_an_answer_that_was_lost_is_no_refusal(commands: Commands, tmp_path: Path) -> None:
    """The job may be in the queue: its folder stays, and nobody is told that nothing happened."""
    commands(sbatch="echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1")
    with pytest.raises(JobFailed, match=r"did not say whether it took .*'squeue --me' before"):
        batch.submit(tmp_path / "job.sbatch", tmp_path)


def test_a_requeue_that_is_refused_once_is_asked_for_again(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpclaunch.slurm.requeue.RETRY_PAUSE_S", 0.0)
    commands(scontrol=ONCE.format(folder=tmp_path, then="true"))
    assert requeue("7")
    commands()
    assert not requeue("7")


def test_a_machine_without_a_controller_says_so(commands: Commands, tmp_path: Path) -> None:
    commands(sbatch="echo 'sbatch: error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(
        UserError, match="nothing was submitted: no Slurm controller answers this machine"
    ):
        batch.submit(tmp_path / "job.sbatch", tmp_path)


def test_questions_to_a_controller_that_is_not_there(commands: Commands) -> None:
    for said, reason in (
        ("slurm_load_jobs error: Unable to contact slurm controller", "slurm_load_jobs error: Un"),
        (
            "squeue: error: fetch_config: DNS SRV lookup failed\n"
            "squeue: fatal: Could not establish a configuration source",
            "Could not establish a configuration source)",
        ),
    ):
        commands(squeue=f"echo '{said}' >&2; exit 1")
        answer = slurm.query("squeue")
        assert not answer.answered
        assert answer.problem.startswith(f"no Slurm controller answers this machine ({reason}")


def test_a_job_submitted_by_hand_is_named(commands: Commands, tmp_path: Path) -> None:
    folder, record = run(tmp_path, job_id=None)
    commands(
        squeue=f"""case "$*" in
    *--me*) echo '12|PENDING|Dependency||1:00|{folder.script}' ;;
    *) echo '12|PENDING|Dependency||1:00' ;;
    esac"""
    )
    assert why(folder, record).cause.advice[-1] == "when it may start: squeue --start --jobs 12"
