"""What a fork that stands for another process has in common with it."""

from __future__ import annotations

import signal
import socket
import subprocess
import time

import psutil
import pytest

from tests.forkserver.clients import end_with
from tests.forkserver.site.sitecustomize import wanted


def test_a_fork_and_what_it_started_go_with_their_client() -> None:
    ours, theirs = socket.socketpair()
    program = subprocess.Popen(
        ["sh", "-c", "sleep 300 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    child = psutil.Process(int(program.stdout.readline()))
    ours.close()
    end_with(theirs, program.pid)
    assert program.wait(10) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_fork_that_ends_first_is_let_go() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = subprocess.Popen(["true"])
        end_with(theirs, program.pid)
        assert program.wait(10) == 0


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (
            ["-P", "-m", "hpclaunch.train.prepare", "r"],
            ["-P", "-m", "hpclaunch.train.prepare", "r"],
        ),
        (["/venv/bin/accelerate-launch", "-m", "x"], ["accelerate-launch", "-m", "x"]),
        (["-P", "-m", "monitors.recorder"], None),
        (["-c", "accelerate-launch"], None),
        (["train.py", "accelerate-launch"], None),
        ([], None),
    ],
)
def test_launchers_and_trainings_alone_are_forks(words: list[str], asked: list[str] | None) -> None:
    assert wanted(list(words)) == asked
