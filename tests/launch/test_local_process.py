"""Whether an attached run's process still runs, over a made-up /proc."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.cancel import cancel
from hpclaunch.launch.local_process import alive, variables_for, works_for
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.processes import started
from tests.run.making import record

BOOT = 1_790_000_000
TICKS = 123_456_789


class Proc:
    """Stands in for /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.boot(BOOT)

    def boot(self, seconds: int) -> None:
        (self.root / "stat").write_text(f"cpu  1 2 3 4\nbtime {seconds}\n")

    def process(self, pid: int, state: str = "S", ticks: int = TICKS, name: str = "python") -> None:
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        fields = [str(pid), f"({name})", state, "1", *["0"] * 17, str(ticks), *["0"] * 30]
        (folder / "stat").write_text(" ".join(fields) + "\n")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    return Proc(tmp_path)


@pytest.mark.parametrize("name", ["python", "a b) (c"])
def test_when_a_process_started_is_in_ticks_since_boot(proc: Proc, name: str) -> None:
    proc.process(77, name=name)
    assert started(77) == TICKS


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_zombie_has_ended(proc: Proc, state: str) -> None:
    proc.process(77, state)
    assert started(77) is None


def test_one_that_is_not_there_has_ended(proc: Proc) -> None:
    assert started(78) is None
    assert started(-1) is None


def test_the_time_of_day_may_be_set_meanwhile(proc: Proc) -> None:
    proc.process(77)
    proc.boot(BOOT + 3600)
    assert started(77) == TICKS


def test_another_process_with_the_same_number_is_not_the_run(proc: Proc) -> None:
    proc.process(77)
    run = record(host=socket.gethostname(), mode="local", pid=77, pid_started=TICKS)
    assert alive(run)
    proc.process(77, ticks=TICKS + 1)
    assert not alive(run)
    assert not alive(msgspec.structs.replace(run, pid_started=None)), "a number proves nothing"
    proc.process(77)
    assert not alive(msgspec.structs.replace(run, boot_id="another"))
    assert not alive(msgspec.structs.replace(run, host="elsewhere"))


def test_it_is_what_the_kernel_says() -> None:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert started(os.getpid()) == int(fields[19])


def test_a_process_works_for_a_folder_if_its_environment_shows_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for variables, ours in (({}, False), ({"HPCLAUNCH_ATTACHED_TO": "/x"}, False), (None, True)):
        environment = os.environ | (variables_for(run) if variables is None else variables)
        with subprocess.Popen(
            [sys.executable, "-c", "print('here', flush=True); input()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            process.stdout.readline()  # until then it is still a copy of this process
            began = started(process.pid)
            at_work = record(
                host=socket.gethostname(), mode="local", pid=process.pid, pid_started=began
            )
            assert alive(at_work)
            assert works_for(run, at_work) is ours
            if not ours:
                with pytest.raises(UserError, match="left alone"):
                    cancel(run, at_work)
            assert process.poll() is None
