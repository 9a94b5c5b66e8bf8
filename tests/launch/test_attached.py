"""Attached runs: lines, exit codes, Ctrl-C, and what a nested step inherits."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from hpclaunch.launch.attached import STOPPED, Attached, inside_allocation, run_attached
from hpclaunch.launch.stop import interrupt
from hpclaunch.run.events import log_event
from hpclaunch.run.lines import Line
from hpclaunch.run.processes import started
from hpclaunch.run.record import read_record
from hpclaunch.run.stop_timing import INTERRUPTED
from tests.run.making import run_in

PROGRAM = """
import sys
from pathlib import Path
from hpclaunch.launch.attached import Attached, run_attached
script, log = sys.argv[1:3]
code = run_attached(
    Attached(["bash", "-c", script], {"PATH": "/usr/bin:/bin"}, Path(log), "0: "),
    lambda line: print("shown", line.text, flush=True),
)
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def _as_from_a_terminal() -> Iterator[None]:
    """Tests that run under nohup would hand on that hang-ups are ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_lines_are_shown_and_logged_and_the_code_is_given(tmp_path: Path) -> None:
    shown: list[Line] = []
    jobs: list[str] = []
    script = "echo 'salloc: Granted job allocation 42'; echo two >&2; printf '\\xff\\n'; exit 7"
    log = tmp_path / "log"
    code = run_attached(
        Attached(["bash", "-c", script], dict(os.environ), log), shown.append, jobs.append
    )
    assert code == 7
    assert [line.text for line in shown][1:] == ["two", "\ufffd"]
    assert jobs == ["42"]
    assert log.read_text().count("\n") == 3


def test_a_script_ended_by_a_signal(tmp_path: Path) -> None:
    job = Attached(["bash", "-c", "kill -9 $$"], dict(os.environ), tmp_path / "log")
    assert run_attached(job, lambda _: None) == 128 + signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_script_in_order(tmp_path: Path, how: signal.Signals) -> None:
    script = "trap 'echo tidied; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    process = _start(tmp_path, script)
    assert process.stdout is not None
    assert process.stdout.readline() == "shown ready\n"
    process.send_signal(how)
    out, _ = process.communicate(timeout=10)
    # After the stop, what the launcher says goes to the log alone.
    assert "shown" not in out
    assert process.returncode == STOPPED
    assert (tmp_path / "log").read_text() == "0: ready\n0: tidied\n"


def test_a_second_ctrl_c_kills_what_does_not_end(tmp_path: Path) -> None:
    script = "trap '' TERM INT; sleep 300 & echo ready $!; while :; do sleep 0.1; done"
    process = _start(tmp_path, script)
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[-1])
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == STOPPED
    deadline = time.monotonic() + 5
    while started(child) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert started(child) is None, "a zombie, which init has not looked at yet, has ended too"


def test_a_reader_that_goes_away_ends_the_script_in_order(tmp_path: Path) -> None:
    """As `hpclaunch local | head -1` does; the log has every line all the same."""
    script = "trap 'echo tidied; exit 5' TERM; while :; do echo line; sleep 0.05; done"
    process = _start(tmp_path, script)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    # Python adds 120 where its own flush at exit finds the pipe broken.
    assert process.wait(timeout=10) in {STOPPED, 120}
    assert said.count("nobody reads the output any more") == 1
    assert (tmp_path / "log").read_text().endswith("0: line\n0: tidied\n")


def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    script = "echo ready; sleep 1; echo done"
    process = _start(tmp_path, script, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout is not None
    assert process.stdout.readline() == "shown ready\n"
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=10)
    assert out == "shown done\n"
    assert process.returncode == 0


def test_a_terminal_that_is_closed_ends_the_script_in_order(tmp_path: Path) -> None:
    """Neither the line that says so nor the last lines have anywhere to go."""
    script = "trap 'echo tidied; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, script, str(tmp_path / "log")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(theirs)
    seen = b""
    while b"ready" not in seen:  # print() writes a line in pieces
        seen += os.read(ours, 100)
    os.close(ours)
    assert process.wait(timeout=10) in {STOPPED, 120}
    assert (tmp_path / "log").read_text() == "0: ready\n0: tidied\n"


def _start(
    tmp_path: Path,
    script: str,
    before: Callable[[], object] | None = None,
    program: str = PROGRAM,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, script, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        preexec_fn=before,  # noqa: PLW1509
    )


def test_a_nested_step_does_not_inherit_the_enclosing_one() -> None:
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_CONF": "x", "PATH": "/bin"}
    # From 26.05 on, a step of an allocation by task would get no more than that task's GPU.
    step = {
        "SLURM_TRES_BIND": "gres/gpu:per_task:1",
        "SLURM_CPUS_PER_GPU": "4",
        "SLURM_STEP_ID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
    }
    assert inside_allocation(job | step) == job


SAVING = """
import sys
from pathlib import Path
from hpclaunch.launch import attached
attached.INTERRUPTED_SAVE_SECONDS = 1.0
script, log = sys.argv[1:3]
code = attached.run_attached(
    attached.Attached(["bash", "-c", script], {"PATH": "/usr/bin:/bin"}, Path(log),
                      later="; later: hpclaunch resume it"),
    lambda line: print("shown", line.text, flush=True),
    save=lambda: Path(log).with_name("stop").touch() or True,
)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("how", "saves", "code"),
    [
        (signal.SIGINT, True, 0),
        (signal.SIGHUP, True, 0),
        (signal.SIGTERM, True, 0),
        (signal.SIGTERM, False, STOPPED),  # it is too slow for what Slurm leaves
    ],
)
def test_a_signal_has_a_run_save_first(
    tmp_path: Path, how: signal.Signals, saves: bool, code: int
) -> None:
    stop = tmp_path / "stop"
    script = f"trap 'echo tidied; exit 5' TERM; echo ready; until [ -e {stop} ]; do sleep 0.1; done"
    script += "; echo saved" if saves else "; while :; do sleep 0.1; done"
    process = _start(tmp_path, script, program=SAVING)
    assert process.stdout is not None
    assert process.stdout.readline() == "shown ready\n"
    process.send_signal(how)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (code, "shown saved\n" if saves else "shown tidied\n")
    assert "saving a checkpoint, then stopping; later: hpclaunch resume it (again: stop" in err
    assert ("no time left to save" in err) == (not saves)


def test_a_second_ctrl_c_does_not_wait_for_the_checkpoint(tmp_path: Path) -> None:
    script = "trap 'echo tidied; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    process = _start(tmp_path, script, program=SAVING)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == STOPPED
    assert "without waiting for its checkpoint (again: kill it)" in err


def test_what_a_run_saves_when_it_is_interrupted(tmp_path: Path) -> None:
    """Before the first step there is nothing, and a program of one's own is not asked."""
    folder = run_in(tmp_path / "run")
    record = read_record(folder)
    assert not interrupt(folder, record)
    log_event(folder.events, "start")
    log_event(folder.events, "load")
    assert not interrupt(folder, record)
    log_event(folder.events, "step", step=1)
    log_event(folder.events, "checkpoint", step=1)
    assert not interrupt(folder, structs.replace(record, program=["x.py"]))
    assert not folder.stop_request.exists()
    assert interrupt(folder, record)
    assert folder.stop_request.read_text() == f"{INTERRUPTED}\n"
    log_event(folder.events, "end", outcome="done")
    assert not interrupt(folder, record)
    log_event(folder.events, "start")
    assert not interrupt(folder, record), "the steps are an earlier attempt's"
