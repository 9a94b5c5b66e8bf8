"""A command that is killed at any write into a run folder leaves what the next one can use."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.launch.draft import draft
from hpclaunch.launch.hand_edits import find_edits
from hpclaunch.launch.request import Request
from hpclaunch.launch.resume import redraft
from hpclaunch.launch.write_folder import rewrite_folder, write_folder
from hpclaunch.pipeline.draft import Where, draft_pipeline
from hpclaunch.pipeline.schema import read_pipeline
from hpclaunch.pipeline.submit import write_pipeline
from hpclaunch.plan.resources import Resources
from hpclaunch.run import lock, unfinished
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.slurm import commands
from hpclaunch.sweep.draft import draft_sweep
from hpclaunch.sweep.submit import write_sweep

WRITES = {"open", "os.mkdir", "os.rename", "os.remove", "os.chmod"}
MOST = 60
"""No command here writes so often."""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "available", lambda: False)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)


def request() -> Request:
    return Request(recipe="tiny", resources=Resources(cpu_processes=1), name="one")


def killed_at(number: int, runs: Path, action: Callable[[], Any]) -> bool:
    """Do something in a process that ends at its nth write below `runs`; whether it was killed."""
    child = os.fork()
    if child == 0:
        left = [number]

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event in WRITES and str(arguments[0]).startswith(str(runs)):
                if event == "open" and not int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
                    return
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def remove_as_another(runs: Path) -> None:
    """Remove what is unfinished, as a process does that holds nothing."""
    lock._held.clear()
    unfinished.remove_unfinished(runs)


def test_a_new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = draft(request(), {})
    runs = tmp_path / "runs"
    monkeypatch.setattr(unfinished, "MIN_AGE_S", -1.0)
    kills = 0
    for number in range(1, MOST):
        killed = killed_at(number, runs, lambda: write_folder(job))
        there = (runs / "one").exists()
        if there:  # whole, whenever it was killed after
            assert read_record(RunFolder(runs / "one")).name == "one"
            assert (runs / "one/job.sbatch").read_text() == job.script
            shutil.rmtree(runs / "one")
        if not killed:
            break
        kills += 1
        assert write_folder(job).folder.root == runs / "one", "the next command is not hindered"
        assert [path.name for path in runs.iterdir()] == ["one"], "what was left is removed"
        shutil.rmtree(runs / "one")
    assert kills > 12


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    kills = 0
    for number in range(1, MOST):
        shutil.rmtree(runs, ignore_errors=True)
        folder = write_folder(draft(request(), {})).folder
        record = read_record(folder)
        more = redraft(folder, record, changes={"time": "9:00:00"}, variables={})
        killed = killed_at(number, runs, lambda job=more, old=record: rewrite_folder(job, old))  # type: ignore[misc]  # bound early
        if not killed:
            break
        kills += 1
        record = read_record(folder)
        job = redraft(folder, record, variables={})
        assert find_edits(folder, record, job).message() is None, "nobody edited anything"
        rewrite_folder(job, record)
        assert folder.script.read_text() == job.script, "the script is that of this record"
        assert not list(folder.root.glob("*.edited"))
    assert kills > 12


def test_a_sweep_or_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next command under the same name is not hindered, and nothing else is left."""
    monkeypatch.setattr(unfinished, "MIN_AGE_S", -1.0)
    runs = tmp_path / "runs"
    local = replace(request(), mode="local", name="many", overrides=("training.seed=1,2",))
    sweep = draft_sweep(local)
    (tmp_path / "chain.yaml").write_text(
        "resources: {cpu_processes: 1}\nstages: {a: {recipe: tiny}}\n"
    )
    spec, document, text = read_pipeline(tmp_path / "chain.yaml")
    where = Where("local", "chain", runs)
    chain = draft_pipeline(spec, document, text, tmp_path / "chain.yaml", where)
    writes: tuple[tuple[Callable[[], object], set[str], int], ...] = (
        (lambda: write_sweep(sweep, ["x"]), {"many", "many.seed-1", "many.seed-2"}, 5),
        (lambda: write_pipeline(chain, ["x"]), {"chain"}, 1),
    )
    for write, names, step in writes:
        kills = 0
        while killed_at(1 + kills * step, runs, write):
            kills += 1
            if not (runs / min(names, key=len)).exists():  # else it was complete
                write()
            assert {path.name for path in runs.iterdir()} == names, kills
            shutil.rmtree(runs)
        assert kills > 5
        shutil.rmtree(runs)


def test_what_another_command_writes_is_left_alone(tmp_path: Path) -> None:
    with unfinished.unfinished_folder(tmp_path / "one") as folder:
        old = time.time() - 3600
        os.utime(folder.root, (old, old))
        killed_at(0, tmp_path, lambda: remove_as_another(tmp_path))
        assert folder.root.is_dir(), "it is held"
        folder.root.rename(tmp_path / "one")
    young = tmp_path / f".two{unfinished.MARK}1"
    young.mkdir()
    unfinished.remove_unfinished(tmp_path)
    assert young.is_dir(), "its command may not hold it yet"
    os.utime(young, (old, old))
    (tmp_path / f".three{unfinished.MARK}1").symlink_to(tmp_path / "one")
    unfinished.remove_unfinished(tmp_path)
    assert not young.exists()
    assert (tmp_path / "one").is_dir()


def test_a_link_has_a_runs_name(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/tiny-1").symlink_to("nowhere")
    job = draft(Request(recipe="tiny", resources=Resources(cpu_processes=1)), {})
    assert write_folder(job).folder.root.name == "tiny-2"
