"""`ls`, `stop` and `cancel`: which run is meant, and what is refused."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.local_process import variables_for
from hpclaunch.launch.request import Request
from hpclaunch.launch.start import execute
from hpclaunch.launch.write_folder import Written, write_folder
from hpclaunch.plan.resources import Resources
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lock import alone
from hpclaunch.run.processes import started
from tests.cli.running import Home
from tests.run.making import run_in

HOLDS = """
import fcntl, sys, time
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(120)
"""


@pytest.fixture
def sleeper(home: Home) -> subprocess.Popen[bytes]:
    """A process that stands for an attached run's script."""
    mine = home.runs / "mine"
    variables = os.environ | variables_for(RunFolder(mine))
    process = subprocess.Popen(["sleep", "60"], env=variables)
    began = started(process.pid)
    at_work = {"pid": process.pid, "pid_started": began, "host": os.uname().nodename}
    run_in(mine, created=2.0, mode="local", **at_work)
    return process


@pytest.mark.parametrize("command", ["cancel", "stop"])
def test_a_script_must_name_what_it_ends(
    home: Home, sleeper: subprocess.Popen[bytes], command: str
) -> None:
    done = home.call(command)
    assert done.code == 2
    assert f"a script must name the one to {command}; the newest is mine in {home.runs}" in done.err
    assert sleeper.poll() is None
    sleeper.kill()


@pytest.mark.parametrize(("answer", "ended"), [("n\n", False), ("\n", False), ("y\n", True)])
def test_a_terminal_is_asked(
    home: Home, sleeper: subprocess.Popen[bytes], answer: str, ended: bool
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        home.argv("cancel"),
        env=home.environment, cwd=home.folder, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.write(ours, answer.encode())
    assert process.wait(timeout=60) == (0 if ended else 130)
    assert f"cancel mine in {home.runs}? [y/N]" in os.read(ours, 4096).decode()
    if ended:
        assert sleeper.wait(timeout=10) == -15
    else:
        assert sleeper.poll() is None
        sleeper.kill()
    os.close(ours)
    os.close(theirs)


def test_stop_asks_a_run_at_work(home: Home, sleeper: subprocess.Popen[bytes]) -> None:
    done = home.call("stop", "mine")
    assert (done.code, done.out) == (0, "mine saves after the step at work, and ends\n")
    assert "hpclaunch resume mine" in done.err
    assert (home.runs / "mine/stop").read_text().startswith("hpclaunch stop by ")
    sleeper.kill()


def test_stop_refuses_what_saves_nothing(home: Home) -> None:
    run_in(home.runs / "own", mode="local", pid=1, host="elsewhere", program=["x.py"])
    done = home.call("stop", "own")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "hpclaunch cancel own" in done.err
    (run_in(home.runs / "over").root / "exit_code").write_text("0\n")
    assert "run over is not running: done" in home.call("stop", "over").err


def test_a_run_that_is_done_is_not_resumed(home: Home) -> None:
    """One of a program of one's own has no weights to name."""
    folder = run_in(home.runs / "over", program=["x.py"])
    folder.exit_code_file.write_text("0\n")
    before = home.files() | {folder.lock_file}
    done = home.call("resume", "over")
    assert (done.code, done.err) == (2, "hpclaunch: run over is done\n")
    folder.final.mkdir()
    (folder.final / "model.safetensors").touch()
    assert f"run over is done; its weights are in {folder.final}" in home.call("resume", "over").err
    assert home.files() - before == {folder.final, folder.final / "model.safetensors"}


def test_without_a_name_the_run_here_is_meant(home: Home) -> None:
    """Another project's newer run, or another cluster's, is not."""
    run_in(home.runs / "here", created=1.0)
    index = home.folder / ".local/state/hpclaunch/runs"
    index.parent.mkdir(parents=True)
    index.write_text(f"{run_in(home.folder / 'other/runs/newer', created=9.0).root}\n")
    assert json.loads(home.call("status", "--json").out)["name"] == "here"


def test_ls(home: Home) -> None:
    for number, code in enumerate(["0", "1", None], 1):
        folder = run_in(home.runs / f"r{number}", created=float(number), recipe=f"recipe{number}")
        if code is not None:
            (folder.root / "exit_code").write_text(f"{code}\n")
    run_in(home.runs / "bad").record.write_text("{")

    def names(*words: str) -> list[str]:
        done = home.call("ls", *words, "--json")
        assert done.code == 0, done.err
        return [run["name"] for run in json.loads(done.out)]

    assert names() == ["r3", "r2", "r1", "bad"]
    assert names("--state", "failed,done") == ["r2", "r1"]
    assert names("r?", "--recipe", "recipe3") == ["r3"]
    assert names("nothing*") == []
    done = home.call("ls")
    assert done.out.splitlines()[0].split() == [
        "run",
        "state",
        "step",
        "age",
        "GPU-hours",
        "job",
        "folder",
    ]
    assert "run.json is damaged" in done.out
    refused = home.call("ls", "--state", "dead")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "no state 'dead'; valid: written, queued, running" in refused.err


def test_ls_of_a_home_without_runs(home: Home) -> None:
    done = home.call("ls")
    assert (done.code, done.out, done.err) == (0, "", "hpclaunch: there is no run yet\n")
    assert home.call("ls", "--json").out == "[]\n"


def test_ls_says_that_there_are_more(home: Home, tmp_path: Path) -> None:
    for number in range(21):
        run_in(home.runs / f"r{number}", created=float(number))
    done = home.call("ls")
    assert len(done.out.splitlines()) == 21
    assert "the newest 20; --all lists more" in done.err
    assert len(home.call("ls", "--all").out.splitlines()) == 22


def test_a_run_is_resumed_once(home: Home) -> None:
    """Two commands at the same moment would submit it twice."""
    folder = run_in(home.runs / "one", mode="local", pid=4194303, host=os.uname().nodename)
    with alone(folder):
        done = home.call("resume", "one")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "another command is at work in run one; hpclaunch status one" in done.err


def written(home: Home, name: str, *program: str) -> Written:
    """A run that was written and not started."""
    request = Request(
        mode="local", recipe=None if program else "tiny", program=program, name=name,
        resources=Resources(cpu_processes=1), runs_dir=home.runs, cwd=home.folder,
    )  # fmt: skip
    return write_folder(draft(request, {}))


def test_of_two_that_resume_a_local_run_at_once_one_does(home: Home) -> None:
    written(home, "twice", "bash", "-c", "echo x >>starts; sleep 4; exit 3")
    both = [home.start("resume", "twice") for _ in range(2)]
    texts = {each: each.communicate(timeout=120)[0] for each in both}
    assert sorted(each.returncode for each in both) == [1, 2], texts
    (refused,) = [text for each, text in texts.items() if each.returncode == 2]
    assert "another command is at work in run twice" in refused or "twice is running" in refused
    assert [path.read_text() for path in home.folder.rglob("starts")] == ["x\n"]


def test_what_begins_again_holds_the_folder_before_it_writes(home: Home) -> None:
    """A sweep's runs and a pipeline's are begun one after another, without their folders held."""
    made = written(home, "held")
    job = draft(Request(mode="local", recipe="tiny", resources=Resources(cpu_processes=1),
                        name="held", runs_dir=home.runs), {})  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in made.folder.root.iterdir()}
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(made.folder.lock_file)], stdout=subprocess.PIPE
    )
    assert held.stdout is not None and held.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match="another command is at work"):
        execute(job, before=made.record, data=lambda _: None)
    after = {path: path.stat().st_mtime_ns for path in made.folder.root.iterdir()}
    assert {path: at for path, at in after.items() if path != made.folder.lock_file} == {
        path: at for path, at in before.items() if path != made.folder.lock_file
    }
    held.kill()
    held.wait()
