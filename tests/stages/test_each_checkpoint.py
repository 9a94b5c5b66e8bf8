"""Evaluations of checkpoints while training goes on: what is kept, submitted and left out."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record, write_record
from hpclaunch.run.waiting import MOST, STALE_S, keep_waiting, waiting
from hpclaunch.stages import each_checkpoint
from tests.stages.folders import write_run

EVERY = ["evaluate.every=checkpoint", "evaluate.tasks=[hellaswag]", "evaluate.limit=4"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with two checkpoints, whose recipe has them evaluated."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = RunFolder(write_run(tmp_path / "a", ""))
    folder.recipe.write_text(to_yaml(load("tiny", EVERY)))
    folder.logs.mkdir()
    for step in (5, 10):
        (folder.checkpoints / f"step-{step}").mkdir(parents=True)
    resources = {"partition": "gpu", "time": "10:00", "dependency": "afterok:1", "mem": "9G"}
    write_record(folder, msgspec.structs.replace(read_record(folder), resources=resources))
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate.every=checkpoint"], "no task is named"),
        (["evaluate.tasks=[hellaswag]"], "nothing says when"),
        (["evaluate.every=step"], "evaluate.every: 'step'"),
    ],
)
def test_keys_that_do_not_belong_together_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("tiny", words)


def test_the_job_is_one_of_its_own(run: RunFolder) -> None:
    wanted = each_checkpoint.request_of(run, read_record(run), "step-5")
    assert wanted.settings.tasks == ("hellaswag",)  # type: ignore[union-attr]  # an eval
    assert wanted.sources[0].source.checkpoint == "step-5"
    assert wanted.request.name == "a-eval-step-5" and wanted.request.mode == "sbatch"
    found = wanted.request.resources
    assert (found.partition, found.time, found.cpu_processes) == ("gpu", "10:00", 1)
    assert (found.dependency, found.mem, found.nodes) == (None, None, 1)


def submitted_as(name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Have jobs drafted and submitted by nobody; return the list of those that would be."""
    jobs: list[Any] = []

    def submit(job: Any) -> Any:
        jobs.append(job)
        folder = RunFolder(Path(f"/runs/{name}"))
        return SimpleNamespace(folder=folder, record=SimpleNamespace(job_id="7"))

    monkeypatch.setattr(each_checkpoint, "draft_stage", lambda wanted, _: wanted)
    monkeypatch.setattr(each_checkpoint, "check_stage", lambda *_: None)
    monkeypatch.setattr(each_checkpoint, "submit", submit)
    return jobs


def test_a_submitted_evaluation_keeps_its_checkpoint_and_is_an_event(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = submitted_as("a-eval-step-10", monkeypatch)
    keep_waiting(run, "step-10")
    assert each_checkpoint.main([str(run.root), "step-10"]) == 0
    assert len(jobs) == 1 and waiting(run) == {"step-10": "a-eval-step-10"}
    event = read_events(run.events)[-1]
    assert (event["event"], event["checkpoint"], event["job"]) == ("evaluation", "step-10", "7")


def test_no_more_than_some_wait_at_once(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = submitted_as("x", monkeypatch)
    monkeypatch.setattr(each_checkpoint, "run_state", lambda *_: SimpleNamespace(state="queued"))
    for step in range(MOST):
        write_run(run.root.parent / f"e{step}", "")
        keep_waiting(run, f"step-{step}", f"e{step}")
    keep_waiting(run, "step-10")
    assert each_checkpoint.main([str(run.root), "step-10"]) == 1
    assert jobs == [] and "step-10" not in waiting(run), "it may be removed"
    assert "step-10 is not evaluated: 3 evaluations" in capsys.readouterr().err
    assert read_events(run.events)[-1]["event"] == "evaluation failed"


def test_checkpoints_are_let_go_once_their_evaluation_has_ended(run: RunFolder) -> None:
    write_run(run.root.parent / "ended", "")
    (run.root.parent / "ended/exit_code").write_text("1\n")
    for name, evaluation in {"step-1": "ended", "step-2": "gone", "step-3": "../a"}.items():
        keep_waiting(run, name, evaluation)
    keep_waiting(run, "step-4")
    keep_waiting(run, "step-5")
    old = (run.evaluations / "waiting/step-4").stat().st_mtime - STALE_S - 1
    os.utime(run.evaluations / "waiting/step-4", (old, old))
    assert each_checkpoint.still_waiting(run) == {"step-5"}
    assert waiting(run) == {"step-5": ""}


def test_the_first_rank_starts_it_in_a_job_alone(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpclaunch.train.evaluations import start_evaluation  # imports Transformers

    recipe = load(str(run.recipe))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    start_evaluation(recipe, run)
    assert waiting(run) == {}
    started: list[list[str]] = []
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setattr(
        "hpclaunch.train.evaluations.subprocess.Popen", lambda argv, **_: started.append(argv)
    )
    monkeypatch.setattr("hpclaunch.train.evaluations._started", [])
    start_evaluation(recipe, run)
    assert started[0][-2:] == [str(run.root), "step-10"]
    assert waiting(run) == {"step-10": ""}, "kept before another checkpoint comes"
