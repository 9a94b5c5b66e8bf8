"""The stage `best`: what it is refused for, and what its job waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hpclaunch.cli.weights import weights_rows
from hpclaunch.diagnose import listing
from hpclaunch.diagnose.state import run_state
from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.run.evaluations import Evaluation, Score, write_evaluation
from hpclaunch.run.events import log_event
from hpclaunch.run.find import every
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record, write_record
from hpclaunch.run.stage import Source, StageRecord, StageResults, stage_text, write_results
from hpclaunch.run.stage_settings import Best, Merge, StageSettings
from hpclaunch.run.waiting import MOST, keep_waiting
from hpclaunch.stages import each_checkpoint, submit_best
from hpclaunch.stages.best import STAGE, best_now
from hpclaunch.stages.source import resolve
from tests.stages.folders import write_adapter, write_run
from tests.stages.test_each_checkpoint import submitted_as

RECIPE = [
    "evaluate.every=checkpoint",
    "evaluate.tasks=[quiz]",
    "evaluate.limit=4",
    "checkpoints.best=quiz",
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A training that has ended, with two evaluated checkpoints; the first is the better one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = RunFolder(write_run(tmp_path / "a", ""))
    folder.recipe.write_text(to_yaml(load("tiny", RECIPE)))
    (folder.root / "exit_code").write_text("0\n")
    for step in (5, 10):
        (folder.checkpoints / f"step-{step}").mkdir(parents=True)
        log_event(folder.events, "checkpoint", step=step)
        evaluation = Evaluation(
            name=f"e{step}", created=1e11, model="a", checkpoint=f"step-{step}", tasks=("quiz",),
            scores={"quiz": {"acc": Score(value=1 / step)}}, limit=4,
            higher_is_better={"quiz": {"acc": True}},
        )  # fmt: skip
        write_evaluation(folder, evaluation)
    resources = {"partition": "gpu", "time": "10:00", "gpus": 4, "gpu": "a100_40"}
    write_record(
        folder, msgspec.structs.replace(read_record(folder), resources=resources, device="gpu")
    )
    return folder


def pending(run: RunFolder, name: str, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an evaluation wait in the queue."""
    other = RunFolder(write_run(run.root.parent / name, ""))
    write_record(other, msgspec.structs.replace(read_record(other), job_id=job))
    keep_waiting(run, "step-10", name)
    state = msgspec.defstruct("State", ["state"])
    monkeypatch.setattr(each_checkpoint, "run_state", lambda *_: state("queued"))


def test_its_job_begins_after_the_training_and_the_evaluations(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending(run, "e10", "77", monkeypatch)
    wanted = submit_best.request_of(run, read_record(run), {"SLURM_JOB_ID": "5"})
    assert wanted.settings == Best(task="quiz", limit=4)
    assert (wanted.request.name, wanted.request.mode) == ("a-best", "sbatch")
    found = wanted.request.resources
    assert (found.dependency, found.partition, found.time) == ("afterany:5:77", "gpu", "10:00")
    assert (found.nodes, found.cpu_processes, found.gpus, found.gpu) == (1, 1, None, None)
    attached = msgspec.structs.replace(read_record(run), mode="srun")
    again = submit_best.request_of(run, attached, {"SLURM_JOB_ID": "5"})
    assert again.request.resources.dependency == "afterany:77", "an allocation goes on"


@pytest.mark.parametrize("works", [True, False])
def test_its_submission_is_an_event(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    job = type("Submitted", (), {})()
    job.folder, job.record = RunFolder(run.root.parent / "a-best"), read_record(run)

    def submit(_: Any) -> Any:
        if not works:
            raise UserError("the queue is closed")
        return job

    monkeypatch.setattr(submit_best, "draft_stage", lambda wanted: wanted)
    monkeypatch.setattr(submit_best, "check_stage", lambda *_: None)
    monkeypatch.setattr(submit_best, "submit", submit)
    assert submit_best.main([str(run.root)]) == (0 if works else 1)
    last = run.events.read_text().splitlines()[-1]
    assert ('"run":"a-best"' if works else "the queue is closed") in last.replace(": ", ":")


def test_the_best_is_chosen_once_everything_has_ended(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, known = best_now(str(run.root))
    assert settings == Best(task="quiz", limit=4)
    assert known.source.checkpoint is None and known.is_adapter
    first = known.source.fingerprint
    (run.checkpoints / "step-5/weights").write_text("other")
    assert best_now(str(run.root))[1].source.fingerprint != first, "it is done again"
    with pytest.raises(UserError, match="no score in other/f1"):
        best_now(str(run.root), "other/f1")
    pending(run, "e10", "77", monkeypatch)
    with pytest.raises(UserError, match="the evaluation of step-10 has not ended"):
        best_now(str(run.root))


def test_what_has_no_checkpoints_to_choose_from_is_refused(run: RunFolder) -> None:
    run.recipe.write_text(to_yaml(load("tiny", [])))
    with pytest.raises(UserError, match=r"checkpoints.best is not set, no task"):
        best_now(str(run.root))
    with pytest.raises(UserError, match="is a model and has no checkpoints"):
        STAGE.check(Best(task="quiz"), [resolve("builtin:tiny-llama")])


def test_what_it_leaves_is_what_its_run_is(run: RunFolder) -> None:
    """An adapter stays one: `merge` takes RUN-best, and not as a whole model."""
    made = RunFolder(write_run(run.root.parent / "a-best"))
    record = StageRecord(sources=(Source(name="a", run=str(run.root)),), settings=Best(task="quiz"))
    made.stage.write_text(stage_text(record))
    assert resolve(str(made.root)).is_adapter is True
    (made.final / "adapter_config.json").rename(made.root / "config")
    made.final.rename(made.root / "gone")
    assert resolve(str(made.root), pending=True).is_adapter is True


def test_every_checkpoint_is_evaluated_where_a_score_chooses(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = submitted_as("x", monkeypatch)
    state = msgspec.defstruct("State", ["state"])
    monkeypatch.setattr(each_checkpoint, "run_state", lambda *_: state("queued"))
    for step in range(MOST):
        write_run(run.root.parent / f"w{step}", "")
        keep_waiting(run, f"step-{step}", f"w{step}")
    assert each_checkpoint.main([str(run.root), "step-10"]) == 0
    assert len(jobs) == 1


def stage_of(run: RunFolder, name: str, settings: StageSettings, weights: str = "") -> RunFolder:
    """Write the run of a stage; one with weights has ended well."""
    made = RunFolder(write_run(run.root.parent / name, weights))
    write_record(
        made, msgspec.structs.replace(read_record(made), stage=settings.stage, mode="local")
    )
    made.stage.write_text(
        stage_text(
            StageRecord(sources=(Source(name=run.root.name, run=str(run.root)),), settings=settings)
        )
    )
    made.exit_code_file.write_text("0\n" if weights else "1\n")
    if weights:
        found = StageResults(stage=settings.stage, seconds=1, values={"checkpoint": "step-5"})
        write_results(made, found)
    return made


def test_status_says_which_weights_to_take(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "own_jobs", dict)

    def said() -> list[str]:
        record = read_record(run)
        return [row[1] for row in weights_rows(run, record, run_state(run, record))]

    write_adapter(run.final)
    last = f"{run.final} (those of the last step; the best by quiz is "
    assert said() == [f"{last}not taken)"]
    log_event(run.events, "best failed", why="the queue is closed")
    assert said() == [f"{last}not taken: the queue is closed)"]
    stage_of(run, "b", Best(task="quiz"))
    assert said() == [
        f"{last}taken by run b (failed))",
        "best: run b, failed: hpclaunch why b",
    ]
    odd = StageRecord(sources=(Source(name="a", run="a\0b"),), settings=Merge())
    stage_of(run, "odd", Merge()).stage.write_text(stage_text(odd))
    best = stage_of(run, "c", Best(task="quiz"), "adapter")
    merged = stage_of(best, "m", Merge(), "model")
    assert said() == [
        f"{best.final} (step-5, the best by quiz)",
        f"those of the last step: {run.final}",
        "best: run b, failed: hpclaunch why b",
        "best: run c, done",
        f"merge of c: run m, done, {merged.final}",
    ]
    lines = {line.name: line.of for line in listing.summaries(every(run.root.parent))}
    assert lines == {"odd": "a", "a": "", "b": "a", "c": "a", "m": "c"}
