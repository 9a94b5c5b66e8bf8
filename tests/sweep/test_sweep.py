"""Drafting a sweep without Slurm, writing it, and the table of what came of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.request import Changes, Request
from hpclaunch.plan.resources import Resources
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.group import SWEEP_FILE
from hpclaunch.run.record import read_record, write_record
from hpclaunch.sweep.draft import SweepDraft, draft_sweep, once, same_step
from hpclaunch.sweep.record import find_sweep
from hpclaunch.sweep.submit import ended_early, write_sweep
from hpclaunch.sweep.table import Best, best, not_comparable, rows

TWO = ("training.learning_rate=1e-4,2e-4",)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HPCLAUNCH_RUNS_DIR", str(tmp_path / "runs"))


def request(tmp_path: Path, *overrides: str, **fields: object) -> Request:
    basis = Request(
        mode="local",
        recipe="tiny",
        overrides=overrides,
        runs_dir=tmp_path / "runs",
        resources=Resources(cpu_processes=1),
    )
    return replace(basis, **fields)  # type: ignore[arg-type]  # fields of a test's own


def drafted(tmp_path: Path, *overrides: str) -> SweepDraft:
    return draft_sweep(request(tmp_path, *(overrides or TWO), name="sw"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("training.learning_rate=1e-4,fast",), "training.learning_rate"),
        (("training.lerning_rate=1,2",), "unknown key 'training.lerning_rate'"),
        (("method.lora.r=0,8",), "method.lora.r"),
        (("model.dtype=float32,fp32",), "'fp32' is not valid"),
    ],
)
def test_a_value_that_the_recipe_refuses_refuses_the_sweep(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError) as error:
        drafted(tmp_path, *overrides)
    assert message in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_values_that_come_to_the_same_recipe_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"runs .* are the same"):
        drafted(tmp_path, "data.name=a.jsonl,./a.jsonl")


def test_an_option_and_a_swept_key_exclude_each_other(tmp_path: Path) -> None:
    changed = request(tmp_path, "method.kind=full,lora", changes=Changes(method="full"))
    with pytest.raises(UserError, match=r"method\.kind is swept, and an option sets it"):
        draft_sweep(changed)


def test_more_runs_than_an_array_has_tasks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpclaunch.sweep.draft.max_array_size", lambda: 1)
    with pytest.raises(UserError, match="2 runs: a job array of this cluster has 1 tasks"):
        draft_sweep(request(tmp_path, *TWO, mode="sbatch", site="generic"))


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "runs/sw.learning_rate-2e-4/mine"
    kept.mkdir(parents=True)
    with pytest.raises(UserError, match="exists already"):
        drafted(tmp_path)
    assert kept.is_dir() and not (tmp_path / "runs/sw").exists()


def test_the_same_data_is_looked_at_once(tmp_path: Path) -> None:
    looked: list[Recipe] = []
    look = once(looked.append)
    jobs = drafted(tmp_path, *TWO, "training.max_length=32,64").jobs
    for job in jobs:
        look(job.plan.recipe)
    assert [recipe.training["max_length"] for recipe in looked] == [32, 64]
    assert same_step(jobs[0].plan.recipe) == same_step(jobs[2].plan.recipe)


def finish(folder: RunFolder, *events: dict[str, object], code: int = 0) -> None:
    lines = [json.dumps({"time": 1.0, **event}) for event in events]
    folder.events.write_text("\n".join(lines) + "\n")
    folder.exit_code_file.write_text(f"{code}\n")
    record = msgspec.structs.replace(read_record(folder), pid=1, pid_started=1)
    write_record(folder, record)


def step(loss: object) -> dict[str, object]:
    return {"event": "step", "step": 3, "total": 3, "loss": loss}


def test_the_best_is_by_eval_loss_where_every_finished_run_has_one(tmp_path: Path) -> None:
    sweep = drafted(tmp_path, "training.seed=1,2,3,4")
    folders = [folder for folder, _ in write_sweep(sweep, ["hpclaunch"])]
    folder, record = find_sweep("sw")
    assert best(rows(folder, record)) is None, "nothing has run"

    finish(folders[0], step(1.0), {"event": "eval", "step": 3, "loss": 2.0})
    finish(folders[1], step(2.0), {"event": "eval", "step": 1, "loss": 0.1},
           {"event": "eval", "step": 3, "loss": 1.5})  # fmt: skip
    finish(folders[2], step(0.1), code=1)
    found = rows(folder, record)
    assert [row.state for row in found] == ["done", "done", "failed", "written"]
    assert [row.eval_loss for row in found] == [2.0, 1.5, None, None]
    assert best(found) == Best("sw.seed-2", "eval loss", 1.5)
    assert ended_early(found) == [2, 3]

    # One that was not evaluated: losses of two kinds are not compared.
    finish(folders[3], step(1.7))
    assert best(rows(folder, record)) == Best("sw.seed-1", "training loss", 1.0)
    assert not_comparable(record) == []


def test_the_loss_of_the_final_weights_counts_with_checkpoints_best(tmp_path: Path) -> None:
    folders = [folder for folder, _ in write_sweep(drafted(tmp_path), ["hpclaunch"])]
    finish(folders[0], step(1.0), {"event": "eval", "step": 1, "loss": 0.5},
           {"event": "eval", "step": 3, "loss": 0.9},
           {"event": "end", "step": 3, "outcome": "done", "eval_loss": 0.5})  # fmt: skip
    finish(folders[1], step(1.0), {"event": "eval", "step": 3, "loss": 0.7})
    assert best(rows(*find_sweep("sw"))) == Best("sw.learning_rate-1e-4", "eval loss", 0.5)


@pytest.mark.parametrize("loss", [None, "low", float("nan"), True])
def test_a_loss_that_is_no_number_is_unknown(tmp_path: Path, loss: object) -> None:
    folders = [folder for folder, _ in write_sweep(drafted(tmp_path), ["hpclaunch"])]
    finish(folders[0], step(loss))
    found = rows(*find_sweep("sw"))
    assert found[0].loss is None and best(found) is None


ENDLESS = json.dumps({"runs": [{"name": "a", "values": {}}] * 100_001})


@pytest.mark.parametrize(
    "text", ["", "[]", '{"runs": [{"name": "../../etc", "values": {}}]}', ENDLESS]
)
def test_a_damaged_sweep_is_refused(tmp_path: Path, text: str) -> None:
    write_sweep(drafted(tmp_path), ["hpclaunch"])
    file = tmp_path / "runs/sw" / SWEEP_FILE
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | json.loads(text)) if text.startswith("{") else text)
    with pytest.raises(UserError, match="is damaged"):
        find_sweep("sw")
