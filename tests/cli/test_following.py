"""A run that is attached to a terminal, when its reader or its follower goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpclaunch.run.processes import started
from tests.cli.running import Home

PROGRAM = """
import os, time
print("pid", os.getpid(), flush=True)
while True:
    print("line", flush=True)
    time.sleep(0.2)
"""


@pytest.fixture
def program(home: Home) -> Path:
    file = home.folder / "prog.py"
    file.write_text(PROGRAM)
    return file


def _until(true: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _start(home: Home) -> tuple[subprocess.Popen[str], int]:
    """Start the program attached; gives the follower and the program's own process."""
    process = home.start("local", "--name", "a", "--cpu-processes", "1", "--", "prog.py")
    assert process.stdout is not None
    for line in process.stdout:
        if "pid" in line:
            return process, int(line.split()[-1])
    raise AssertionError("the program did not start")


def _state(home: Home) -> str:
    state = json.loads(home.call("status", "a", "--json").out)["state"]
    assert isinstance(state, str)
    return state


def test_head_ends_the_run(home: Home, program: Path) -> None:
    process, pid = _start(home)
    assert process.stdout is not None
    process.stdout.close()
    process.wait(timeout=30)
    assert started(pid) is None
    assert _state(home) == "cancelled"


def test_a_follower_that_is_killed_leaves_a_run_that_is_seen_and_can_be_ended(
    home: Home, program: Path
) -> None:
    process, pid = _start(home)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert started(pid) is not None
    assert _state(home) == "running"
    ended = home.call("cancel", "a")
    assert ended.code == 0
    assert "hpclaunch resume a   (starts your program again)" in ended.err, "it has no checkpoints"
    _until(lambda: started(pid) is None)
    _until(lambda: _state(home) == "cancelled")
    again = home.call("cancel", "a")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "is not running: cancelled" in again.err


def test_ctrl_c_is_told_as_such(home: Home, program: Path) -> None:
    process, pid = _start(home)
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in out
    assert started(pid) is None
    assert _state(home) == "cancelled"
