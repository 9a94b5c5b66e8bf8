"""launch.sh and node.sh by themselves, with stand-ins for Slurm's commands."""

import os
import re
import shlex
from pathlib import Path

import pytest

from hpclaunch.render.static_scripts import checksums, static_scripts
from hpclaunch.run.folder import RunFolder
from tests.render.shell import in_folder, run_script, stand_in
from tests.render.standins import write_script

VERSIONS = Path(__file__).parent / "golden/static_scripts.txt"


def test_a_changed_file_has_a_new_version() -> None:
    """UPDATE_GOLDEN=1 pytest tests/render writes the new checksums, once the version is raised."""
    scripts = static_scripts()
    versions = {name: re.findall(r"version (\d+)", text)[0] for name, text in scripts.items()}
    rows = {name: f"{versions[name]} {sha256}" for name, sha256 in checksums(scripts).items()}
    if os.environ.get("UPDATE_GOLDEN") == "1":
        VERSIONS.write_text("".join(f"{name} {row}\n" for name, row in rows.items()))
    kept = dict(line.split(" ", 1) for line in VERSIONS.read_text().splitlines())
    assert rows == kept, "raise the version in its first lines, then UPDATE_GOLDEN=1 keeps it"


def test_what_fails_before_begin_leaves_its_exit_code(folder: RunFolder) -> None:
    done = run_script(folder, "module load nope || exit 3")
    assert done.returncode == 3
    assert folder.exit_code_file.read_text() == "3\n"
    assert folder.job_file.read_text() == "7\n"
    assert folder.attempt_file.read_text() == "7.0\n"


def test_a_job_that_is_queued_again_before_begin_has_not_ended(folder: RunFolder) -> None:
    stand_in(folder.root.parent, "squeue", "echo PENDING")
    assert run_script(folder, "exit 3").returncode == 3
    assert not folder.exit_code_file.exists()


@pytest.mark.parametrize("lines", ["begin", "exit 1"])
def test_a_second_job_leaves_the_first_ones_folder_alone(folder: RunFolder, lines: str) -> None:
    stand_in(folder.root.parent, "squeue", '[[ "$*" != *"--jobs 5"* ]] || echo 5')
    folder.job_file.write_text("5\n")
    done = run_script(folder, lines)
    assert done.returncode == (2 if lines == "begin" else 1)
    assert "job 5 is at work" in done.stderr
    assert folder.job_file.read_text() == "5\n"
    assert not folder.exit_code_file.exists()
    assert not folder.attempt_file.exists()


def test_modules_are_defined_where_a_batch_shell_lacks_them(folder: RunFolder) -> None:
    done = run_script(folder, "module load nope")
    assert done.returncode == 127, "nothing in /etc/profile.d defines it here"
    done = run_script(folder, "module load mine/1", **{"BASH_FUNC_module%%": "() { echo $*; }"})
    assert done.stdout == "load mine/1\n", "the site's own is taken"


def test_more_restarts_than_allowed_end_the_job(folder: RunFolder) -> None:
    done = run_script(folder, "begin --max-restarts 2", SLURM_RESTART_COUNT="3")
    assert done.returncode == 1
    assert "restarted 2 times" in done.stderr
    assert folder.exit_code_file.read_text() == "1\n"


def test_an_older_attempt_writes_nothing_into_a_later_ones_folder(folder: RunFolder) -> None:
    taken_over = 'echo 7.1 >"$HPCLAUNCH_RUN/start"'
    done = run_script(folder, f"begin --own-program\ntrain bash -c '{taken_over}; exit 4'\nfinish")
    assert done.returncode == 4
    assert not folder.exit_code_file.exists()


def test_a_token_for_the_submission_is_not_the_programs(folder: RunFolder) -> None:
    words = {"SLURM_JWT": "secret", "SLURM_JOB_END_TIME": "55"}
    done = run_script(folder, 'begin\necho "token=${SLURM_JWT-none}"', **words)
    assert "token=none" in done.stdout


def test_ranks_of_one_machine_talk_over_loopback(folder: RunFolder) -> None:
    lines = 'begin\nchoose_port\necho "$HPCLAUNCH_HEAD $GLOO_SOCKET_IFNAME $NCCL_SOCKET_IFNAME"'
    assert "127.0.0.1 lo =lo\n" in run_script(folder, lines, mode="local").stdout


@pytest.mark.parametrize(
    ("left", "end"),
    [("1-02:03:04", 93784), ("2:03:04", 7384), ("03:04", 184), ("UNLIMITED", None)],
)
def test_the_end_of_the_allocation(folder: RunFolder, left: str, end: int | None) -> None:
    stand_in(folder.root.parent, "squeue", f'[[ "$*" != *%L* ]] || echo {left}')
    stand_in(folder.root.parent, "date", "echo 1000")
    done = run_script(folder, 'begin\necho "ends=$HPCLAUNCH_ENDS"')
    assert f"ends={'' if end is None else 1000 + end}\n" in done.stdout
    told = run_script(folder, 'begin\necho "ends=$HPCLAUNCH_ENDS"', SLURM_JOB_END_TIME="55")
    assert "ends=55\n" in told.stdout


def test_the_webhook_is_told_last_and_for_some_seconds_at_most(folder: RunFolder) -> None:
    told = (
        'cat "$HPCLAUNCH_RUN/exit_code" >"$HPCLAUNCH_RUN/told"; echo "$@" >>"$HPCLAUNCH_RUN/told"'
    )
    stand_in(folder.root.parent, "python", f"{told}; exec sleep 60")
    stand_in(
        folder.root.parent,
        "timeout",
        '[ "$1 $2" = "--signal=KILL 15" ] && shift 2; "$@" & sleep 0.3; kill -KILL $!',
    )
    done = run_script(
        folder, "begin --notify\ntrain bash -c 'exit 4'\nfinish", SLURM_JOB_END_TIME="55"
    )
    assert done.returncode == 4, "whatever the receiver does"
    assert (folder.root / "told").read_text() == f"4\n-P -m hpclaunch.notify {folder.root} 4\n"
    (folder.root / "told").unlink()
    run_script(folder, "begin\ntrain bash -c 'exit 4'\nfinish", SLURM_JOB_END_TIME="55")
    assert not (folder.root / "told").exists(), "not asked for"


STATES = {
    "at once": "echo RUNNING",
    "at the second try": "[ -e tried ] && echo RUNNING || { touch tried; exit 1; }",
    "with a greeting": "echo '*** Welcome ***'; echo RUNNING",
}


def test_a_slurm_that_never_says_whether_the_job_was_cancelled(folder: RunFolder) -> None:
    stand_in(folder.root.parent, "sleep", "")
    training = "/bin/sleep 0.05; mkdir -p checkpoints; touch checkpoints/step-2; exit 9"
    done = run_script(
        folder, f"begin --max-restarts 2\ntrain bash -c {shlex.quote(training)}\nfinish"
    )
    assert done.returncode == 9
    assert "does not say whether the job was cancelled" in done.stderr
    assert "go on with: hpclaunch resume run" in done.stderr


@pytest.mark.parametrize("trainer", [True, False])
def test_a_notice_before_begin_is_kept(folder: RunFolder, trainer: bool) -> None:
    """Slurm sends it within a second of a restart, too, while the environment is being loaded."""
    own = "" if trainer else " --own-program"
    done = run_script(folder, f"kill -USR1 $$\necho lives\nbegin{own}\necho began")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "began")
    assert folder.stop_request.exists() == trainer


def test_a_greeting_is_no_node(folder: RunFolder) -> None:
    stand_in(folder.root.parent, "scontrol", "echo '*** Welcome ***'; echo n1; echo n2")
    assert run_script(folder, "begin", SLURM_JOB_END_TIME="55").returncode == 0
    assert folder.nodes.read_text() == "n1\nn2\n"
    run_script(folder, "begin --nodes 1", SLURM_JOB_END_TIME="55")
    assert folder.nodes.read_text() == "n1\n", "the first of an allocation that has more"


@pytest.mark.parametrize("answer", STATES)
def test_a_checkpoint_after_the_start_brings_the_job_back(folder: RunFolder, answer: str) -> None:
    stand_in(folder.root.parent, "squeue", STATES[answer])
    stand_in(folder.root.parent, "sleep", '[ "$1" = 5 ] || /bin/sleep "$@"')
    stand_in(folder.root.parent, "python", 'echo "$@" >>"$HPCLAUNCH_RUN/logs/calls"')
    training = "sleep 0.05; mkdir -p checkpoints; touch checkpoints/step-2; exit 9"
    lines = f"begin --max-restarts 2\ntrain bash -c {shlex.quote(training)}\nfinish"
    done = run_script(folder, lines)
    assert "failed with code 9 after a new checkpoint" in done.stderr
    called = (folder.logs / "calls").read_text()
    assert called == f"-P -m hpclaunch.requeue {folder.root} failed 9\n"
    (folder.logs / "calls").unlink()
    done = run_script(folder, lines, SLURM_RESTART_COUNT="2")
    assert "restarted 2 times" in done.stderr
    assert "failed" not in (folder.logs / "calls").read_text()
    run_script(folder, lines.replace("step-2", "other"))
    assert not any("failed" in line for line in (folder.logs / "calls").read_text().splitlines())


def node(folder: RunFolder, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run node.sh as a job's step does; returns its exit code and what it wrote to stderr."""
    write_script(folder, "")
    variables = {"HPCLAUNCH_START": "7.0", **variables}
    done = in_folder(folder, ["bash", str(folder.node_checks), *arguments], **variables)
    return done.returncode, done.stderr


def test_the_first_node_that_fails_is_kept(folder: RunFolder) -> None:
    folder.attempt_file.write_text("7.0\n")
    assert node(folder, "--", "bash", "-c", "exit 5")[0] == 5
    assert node(folder, "--", "bash", "-c", "exit 6", SLURM_NODEID="0")[0] == 6
    code, number, _host = folder.first_failed_node.read_text().split()
    assert (code, number) == ("5", "1")


def test_a_node_of_an_older_attempt_keeps_quiet(folder: RunFolder) -> None:
    folder.attempt_file.write_text("7.1\n")
    assert node(folder, "--", "false")[0] == 1
    assert not folder.first_failed_node.exists()


@pytest.mark.parametrize(
    ("visible", "attempt", "code"),
    [("0,1", "7.0", 0), ("0", "7.0", 1), ("0,1,2", "7.0", 1), ("0,1,2", "", 0), ("0", "", 1)],
)
def test_visible_gpus_are_compared_with_the_requested_ones(
    folder: RunFolder, visible: str, attempt: str, code: int
) -> None:
    found, said = node(
        folder, "--gpus", "2", "--", "true", CUDA_VISIBLE_DEVICES=visible, HPCLAUNCH_START=attempt
    )
    assert found == code
    assert (f"gives GPUs {visible}, 2 were asked for" in said) == (code == 1)


def test_a_node_without_its_gpus_is_the_first_to_fail(folder: RunFolder) -> None:
    """Of the others srun then ends the launchers, whose codes hide its own."""
    folder.attempt_file.write_text("7.0\n")
    assert node(folder, "--gpus", "2", "--", "true", CUDA_VISIBLE_DEVICES="0")[0] == 1
    assert node(folder, "--", "bash", "-c", "exit 143", SLURM_NODEID="0")[0] == 143
    assert folder.first_failed_node.read_text().split()[:2] == ["1", "1"]


@pytest.mark.parametrize(("there", "code"), [(1, 1), (2, 0), (8, 0)])
def test_without_visible_devices_the_driver_is_asked(
    folder: RunFolder, there: int, code: int
) -> None:
    stand_in(folder.root.parent, "nvidia-smi", f"seq -f 'GPU %g' {there}")
    assert node(folder, "--gpus", "2", "--", "true")[0] == code


@pytest.mark.parametrize("arguments", [(), ("--cpus", "2", "--", "true"), ("true",)])
def test_node_refuses_what_it_does_not_know(folder: RunFolder, arguments: tuple[str, ...]) -> None:
    code, said = node(folder, *arguments)
    assert code == 2
    assert said.startswith("usage: bash node.sh")


def test_without_the_package_slurm_itself_is_asked_to_requeue(folder: RunFolder) -> None:
    stand_in(folder.root.parent, "squeue", "echo RUNNING")
    stand_in(folder.root.parent, "python", "exit 1")
    stand_in(folder.root.parent, "sleep", "")
    stand_in(folder.root.parent, "scontrol", 'echo "$@" >>"$HPCLAUNCH_RUN/logs/calls"; echo n1')
    training = "/bin/sleep 0.05; mkdir checkpoints; touch checkpoints/step-2; exit 9"
    run_script(folder, f"begin --max-restarts 2\ntrain bash -c {shlex.quote(training)}\nfinish")
    assert "requeue 7" in (folder.logs / "calls").read_text().splitlines()
