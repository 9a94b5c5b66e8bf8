"""Which files are which split: as the datasets library has it, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.dataset.splits import splits_of
from hpclaunch.errors import UserError

LAYOUTS: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "names": (["test.jsonl", "train.jsonl"], {"train": ["train.jsonl"], "test": ["test.jsonl"]}),
    "no split": (["a.jsonl", "b/c.jsonl"], {"train": ["a.jsonl", "b/c.jsonl"]}),
    "one file": (["rows.csv"], {"train": ["rows.csv"]}),
    "delimiters": (
        ["my-train 1.csv", "my_dev_2.csv", "x.eval.csv", "train2.csv"],
        {
            "train": ["my-train 1.csv", "train2.csv"],
            "validation": ["my_dev_2.csv"],
            "test": ["x.eval.csv"],
        },
    ),
    "every keyword": (
        [f"{word}.csv" for word in ("training", "val", "valid", "dev", "testing", "evaluation")],
        {
            "train": ["training.csv"],
            "validation": ["dev.csv", "val.csv", "valid.csv"],
            "test": ["evaluation.csv", "testing.csv"],
        },
    ),
    "no split in a word": (
        ["contest.csv", "developers.csv", "trainer.csv"],
        {"train": ["contest.csv", "developers.csv", "trainer.csv"]},
    ),
    "the others are none": (["notes.csv", "train.csv"], {"train": ["train.csv"]}),
    "only test": (["a.csv", "test.csv"], {"test": ["test.csv"]}),
    "folders": (
        ["data/test/0.csv", "data/train/1.csv", "data/train/deep/2.csv", "extra.csv"],
        {"train": ["data/train/1.csv", "data/train/deep/2.csv"], "test": ["data/test/0.csv"]},
    ),
    "folders before names": (
        ["train.csv", "validation/a.csv"],
        {"validation": ["validation/a.csv"]},
    ),
    "shards": (
        [
            "data/odd-00000-of-00001.parquet",
            "data/train-00000-of-00002-1a2b.parquet",
            "data/train-00001-of-00002-3c4d.parquet",
            "extra/test.parquet",
        ],
        {
            "odd": ["data/odd-00000-of-00001.parquet"],
            "train": [
                "data/train-00000-of-00002-1a2b.parquet",
                "data/train-00001-of-00002-3c4d.parquet",
            ],
        },
    ),
    "shards elsewhere": (
        ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"],
        {"train": ["train-00000-of-00001.parquet"], "test": ["test-00000-of-00001.parquet"]},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_files_belong_to_splits(name: str) -> None:
    files, splits = LAYOUTS[name]
    assert splits_of(files, "folder") == splits


def test_the_datasets_library_has_the_same(tmp_path: Path) -> None:
    data_files = pytest.importorskip("datasets.data_files", reason="needs the training stack")
    for number, (files, splits) in enumerate(LAYOUTS.values()):
        folder = tmp_path / str(number)
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text("x")
        patterns = data_files.get_data_patterns(str(folder))
        found = data_files.DataFilesDict.from_patterns(patterns, base_path=str(folder))
        assert {
            split: sorted(str(Path(file).relative_to(folder)) for file in of_split)
            for split, of_split in found.items()
        } == splits


def test_upper_case_is_a_split_too() -> None:
    found = splits_of(["Test.jsonl", "TRAIN.jsonl"], "folder")
    assert found == {"train": ["TRAIN.jsonl"], "test": ["Test.jsonl"]}


@pytest.mark.parametrize(
    "name",
    [
        "myTest.csv",
        "alpacaDevSet2.csv",
        "testset.csv",
        "a/my_evalset.csv",
        "heldout.csv",
        "held-out-2.csv",
        "devdata/x.csv",
    ],
)
def test_what_looks_like_a_split_and_is_none_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="looks like one split of several"):
        splits_of([name, "rows.csv"], "folder")
