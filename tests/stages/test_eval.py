"""Evaluations: what is kept, how scores read, and one by the real harness."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from hpclaunch.cli.eval import base_of
from hpclaunch.cli.eval_table import cells, lines_of
from hpclaunch.cli.stage import stage_rows
from hpclaunch.errors import UserError
from hpclaunch.forecast.task_data import check_datasets
from hpclaunch.run.evaluations import Evaluation, Score, read_evaluations, write_evaluation
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.run.stage import Source, StageRecord, read_results, stage_text
from hpclaunch.run.stage_settings import Eval
from hpclaunch.stages.eval import check, rows
from hpclaunch.stages.source import resolve
from tests.stages.folders import write_model, write_run
from tests.train.running import program

HARNESS = {
    "quiz": {
        "alias": "quiz",
        "acc,none": 0.5,
        "acc_stderr,none": 0.1,
        "exact_match,strict-match": 0.25,
        "exact_match_stderr,strict-match": "N/A",
        "perplexity,none": float("nan"),
        "sample_len": 9,
    }
}


def evaluation(**changes: object) -> Evaluation:
    """Return an evaluation of a run and its base."""
    values = {
        "name": "a-eval",
        "created": 1.0,
        "model": "a",
        "tasks": ("quiz",),
        "scores": {"quiz": {"acc": Score(value=0.5, stderr=0.1)}, "quiz_part": {}},
        "base": {"quiz": {"acc": Score(value=0.25)}},
        "base_model": "owner/base",
    }
    return msgspec.convert({**msgspec.to_builtins(values), **changes}, Evaluation)


def test_the_harness_table_becomes_scores() -> None:
    from hpclaunch.train.stages.eval import _read_scores  # imports torch

    assert _read_scores(HARNESS) == {
        "quiz": {
            "acc": Score(value=0.5, stderr=0.1),
            "exact_match (strict-match)": Score(value=0.25),
        }
    }


def test_before_and_after_stand_side_by_side() -> None:
    values = msgspec.to_builtins(evaluation(limit=5))
    found = rows(values)
    assert found[0] == ("score", "quiz acc: 0.5000 ± 0.1000, before 0.2500 (+0.2500)")
    assert "the first 5 rows" in found[-1][1]
    assert rows({"scores": 3}) == []


def test_what_is_kept_in_a_run_is_read_back_and_damage_is_passed_over(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path / "a"))
    later = evaluation(name="../b", created=2.0, checkpoint="step-5")
    for each in (later, evaluation()):
        write_evaluation(folder, each)
    (folder.evaluations / "c.json").write_text('{"scores": [')
    (folder.evaluations / "d.json").symlink_to(folder.evaluations / "a-eval.json")
    assert read_evaluations(folder) == [evaluation(), later]
    assert list(tmp_path.glob("**/b.json")) == [], "nothing is written elsewhere"
    found = stage_rows(folder, read_record(folder))
    assert [text.rpartition(" ")[2] for _, text in found] == ["(final)", "(step-5)"]


def test_nothing_is_written_through_a_link_or_into_another_users_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(write_run(tmp_path / "a"))
    (tmp_path / "elsewhere").mkdir()
    folder.evaluations.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        write_evaluation(folder, evaluation())
    folder.evaluations.unlink()
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    with pytest.raises(PermissionError):
        write_evaluation(folder, evaluation())
    assert not list((tmp_path / "elsewhere").iterdir()) and not folder.evaluations.exists()


def test_a_table_has_each_run_and_each_base_once() -> None:
    again = evaluation(created=2.0, scores={"quiz": {"acc": {"value": 0.75}}})
    few = evaluation(created=3.0, limit=2, scores={"quiz": {"acc": {"value": 1.0}}})
    other = evaluation(tasks=("x",), scores={"x": {"f1": {"value": 0.1}}}, base_model=None)
    found = [("a", evaluation()), ("b", other), ("a", again), ("a", few)]
    assert cells(lines_of(found)) == [
        ["run", "quiz acc", "x f1", "weights"],
        ["owner/base", "0.2500", "-", "base"],
        ["a", "0.7500", "-", "final"],
        ["b", "-", "0.1000", "final"],
    ]
    assert len(lines_of(found, ["x"])) == 1
    steps = [("a", evaluation(checkpoint=f"step-{n}", base_model=None)) for n in (100, 20)]
    assert [line.weights for line in lines_of([*steps, ("a", again)])][1:] == [
        "step-20",
        "step-100",
        "final",
    ]


def test_data_that_an_offline_job_lacks_is_named_with_what_fetches_it(tmp_path: Path) -> None:
    variables = {"HF_HOME": str(tmp_path)}
    held = tmp_path / "datasets/owner___quiz/default/0.0.0/abc"
    held.mkdir(parents=True)
    (held / "quiz-test.arrow").touch()
    check_datasets(["owner/quiz"], variables)
    with pytest.raises(UserError, match="hpclaunch fetch datasets/cais/mmlu"):
        check_datasets(["owner/quiz", "cais/mmlu"], variables)


def test_the_base_is_what_the_run_started_from(tmp_path: Path) -> None:
    for kind in ("adapter", "model"):
        base = base_of(resolve(str(write_run(tmp_path / kind, kind))))
        assert base is not None and base.source.model == "builtin:tiny-llama"
    assert base_of(resolve(str(write_model(tmp_path / "m")))) is None
    with pytest.raises(UserError, match="no such folder"):
        check(Eval(tasks=("x",), tasks_dir=str(tmp_path / "nowhere")), ())


@pytest.mark.train
def test_a_model_is_evaluated_by_the_harness(tmp_path: Path) -> None:
    """One evaluation: importing the harness takes most of it."""
    questions = [{"q": f"Is {n} even?", "choices": ["yes", "no"], "label": n % 2} for n in range(6)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in questions))
    (tmp_path / "tasks").mkdir()
    task = {
        "task": "even",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc"}],
    }
    (tmp_path / "tasks/even.yaml").write_text(json.dumps(task))
    source = RunFolder(write_run(tmp_path / "a", ""))
    folder = RunFolder(write_run(tmp_path / "a-eval", ""))
    record = StageRecord(
        sources=(Source(name="tiny", run=None, model="builtin:tiny-llama"),),
        settings=Eval(tasks=("even",), tasks_dir=str(tmp_path / "tasks"), limit=4),
        parallel=True,
    )
    folder.stage.write_text(stage_text(record))
    done = program("hpclaunch.train.stages.eval", HPCLAUNCH_RUN=str(folder.root))
    assert done.code == 0, done.said
    results = read_results(folder)
    assert results is not None
    found = msgspec.convert(results.values, Evaluation)
    assert 0.0 <= found.scores["even"]["acc"].value <= 1.0
    assert found.rows == {"even": 4} and found.harness
    assert not source.evaluations.exists(), "it is another model's"
