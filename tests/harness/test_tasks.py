"""Which tasks there are, and what data they read, from their files alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.harness.tasks import (
    check_score,
    check_tasks,
    harness_folder,
    hub_datasets,
    needed_files,
    read_index,
)

FILES = {
    "quiz/_base": "dataset_path: owner/quiz\ndoc_to_text: !function utils.text\n",
    "quiz/maths.yaml": '"include": "_base"\n"task": "quiz_maths"\n"tag": "quiz_parts"\n',
    "quiz/latin.yaml": "include: _base\ntask: quiz_latin  # dead\ntag:\n  - quiz_parts\n  - old\n",
    "quiz/_all.yaml": "group: quiz\ntask:\n  - quiz_parts\n  - group: more\n    task: [other]\n",
    "other/other.yaml": "task: other\ndataset_path: other/data\ntest_split: test\n",
    "own/own.yaml": '{"task": "own", "dataset_path": "json", "tag": ["mine"]}',
    "__pycache__/x.yaml": "task: hidden\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_tasks_groups_and_tags_are_known_by_name(folder: Path) -> None:
    index = read_index([folder])
    assert set(index.files) == {"quiz_maths", "quiz_latin", "quiz", "other", "own"}
    assert set(index.tags) == {"quiz_parts", "old", "mine"}
    check_tasks(["quiz", "old", "quiz_*"], index, None)


def test_an_unknown_task_is_refused_with_the_nearest_names(folder: Path) -> None:
    index = read_index([folder])
    with pytest.raises(UserError) as caught:
        check_tasks(["other", "quiz_math"], index, "/mine")
    assert "no task 'quiz_math' in lm-evaluation-harness nor in /mine" in str(caught.value)
    assert "did you mean quiz_maths or " in str(caught.value)
    with pytest.raises(UserError, match="--tasks-dir"):
        check_tasks(["zzz*"], index, None)


@pytest.mark.parametrize(
    ("names", "datasets"),
    [
        (["quiz_maths"], ["owner/quiz"]),
        (["quiz"], ["other/data", "owner/quiz"]),
        (["old"], ["owner/quiz"]),
        (["own"], []),
    ],
)
def test_the_data_of_tasks_and_of_all_their_parts(
    folder: Path, names: list[str], datasets: list[str]
) -> None:
    assert hub_datasets(needed_files(names, read_index([folder])).values()) == datasets


def test_a_group_that_holds_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("group: a\ntask: [b, a]\n")
    (tmp_path / "b.yaml").write_text("group: b\ninclude: b.yaml\ntask: [a]\n")
    assert len(needed_files(["a"], read_index([tmp_path]))) == 2


def test_own_tasks_win_over_those_of_the_harness(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "other.yaml").write_text("task: other\ndataset_path: my/data\n")
    index = read_index([folder / "other", mine])
    assert hub_datasets(needed_files(["other"], index).values()) == ["my/data"]


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "x.yaml").write_bytes(b"task: x\n" + data)
        index = read_index([Path(name)])
        hub_datasets(needed_files(index.names, index).values())


def test_the_installed_harness_has_its_tasks() -> None:
    index = read_index([harness_folder(Path(sys.prefix)) / "tasks" / name for name in PARTS])
    check_tasks(["hellaswag", "mmlu", "truthfulqa_mc2"], index, None)
    files = needed_files(["mmlu", "truthfulqa_mc2"], index)
    assert hub_datasets(files.values()) == ["cais/mmlu", "truthfulqa/truthful_qa"]
    assert len(files) > 57, "all subjects of MMLU"


PARTS = ("hellaswag", "mmlu/default", "truthfulqa")


def test_an_environment_without_the_harness_is_refused_with_what_installs_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text("#!/bin/sh\necho\n")
    (tmp_path / "bin/python").chmod(0o755)
    with pytest.raises(UserError, match="bin/python -m pip install lm_eval"):
        harness_folder(tmp_path)


def test_what_has_no_score_of_its_own_chooses_nothing(tmp_path: Path) -> None:
    files = {
        "a": "task: a\ntag: both\nmetric_list: [{metric: acc}]\n",
        "b": "task: b\ntag: both\n",
        "group": "group: group\ntask: [a, b]\n",
        "mean": "group: mean\ntask: [a, b]\naggregate_metric_list: [{metric: acc}]\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    index = read_index([tmp_path])
    for name, metric in (("a", None), ("a", "acc"), ("b", "anything"), ("mean", "acc")):
        check_score(name, metric, index)
    refused = {
        "both": (None, "'both' stands for several tasks"),
        "group": (None, "'group' stands for several tasks"),
        "a": ("f1", "task 'a' has no metric 'f1'; it has acc"),
        "mean": ("f1", "task 'mean' has no metric 'f1'"),
    }
    for name, (metric, message) in refused.items():
        with pytest.raises(UserError) as caught:
            check_score(name, metric, index)
        assert message in str(caught.value)
