"""Folders of data: which files are read for a split, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpclaunch.dataset.check import check_data
from hpclaunch.dataset.count import count_samples
from hpclaunch.dataset.local import held_out_split, local_split
from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Data, Model, Recipe

ROW = json.dumps({"text": "words"}) + "\n"


def fill(folder: Path, *names: str, content: str = ROW) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def files(folder: Path, split: str = "train") -> list[str]:
    return [str(file.relative_to(folder)) for file in local_split(folder, split).files]


def check(**data: object) -> tuple[str, ...]:
    return check_data(Recipe(name="x", model=Model(name="m"), data=Data(**data)))  # type: ignore[arg-type]  # a table of the test's own


def test_only_the_split_that_is_named_is_read(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", "test.jsonl", "dev-1.jsonl", "eval.jsonl", "other.jsonl")
    assert files(tmp_path) == ["train.jsonl"]
    assert files(tmp_path, "test") == ["eval.jsonl", "test.jsonl"]
    assert files(tmp_path, "eval") == ["eval.jsonl"], "a keyword means the files of that name"
    assert files(tmp_path, "dev") == files(tmp_path, "validation") == ["dev-1.jsonl"]
    assert local_split(tmp_path, "train").left_out == (
        "dev-1.jsonl", "eval.jsonl", "other.jsonl", "test.jsonl",
    )  # fmt: skip
    (line,) = check(name=str(tmp_path))
    assert line == (
        f"data: {tmp_path}: split train is train.jsonl; left out: dev-1.jsonl, eval.jsonl, "
        "other.jsonl, test.jsonl"
    )


@pytest.mark.parametrize("word", ["val", "valid", "dev", "validation"])
@pytest.mark.parametrize("name", ["validation.jsonl", "val.jsonl", "valid/rows.jsonl"])
def test_a_keyword_means_the_split_whatever_its_file_is_called(
    word: str, name: str, tmp_path: Path
) -> None:
    fill(tmp_path, "train.jsonl" if "/" not in name else "train/rows.jsonl", name)
    assert files(tmp_path, word) == [name]


def test_eval_means_the_split_test(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", "test.jsonl")
    assert files(tmp_path, "eval") == ["test.jsonl"]
    assert files(fill(tmp_path / "more", "train.jsonl", "eval.jsonl"), "test") == ["eval.jsonl"]
    with pytest.raises(UserError, match="no split 'val', but train, test"):
        files(tmp_path, "val")


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", "test.jsonl", "more.jsonl")
    for split in ("validation", "dev", "valdation", "more", "TRAIN"):
        with pytest.raises(UserError, match=f"no split '{split}', but train, test; in none: more"):
            local_split(tmp_path, split)
    with pytest.raises(UserError, match=r"data\.jsonl has no split 'test': a file is the split"):
        local_split(fill(tmp_path / "one", "data.jsonl") / "data.jsonl", "test")
    with pytest.raises(UserError, match=r"data\.validation_split: 'train\[' names no split"):
        check(name=str(tmp_path), validation_split="train[")


def test_what_describes_data_is_none_and_several_files_are_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.jsonl", "deep/b.jsonl")
    fill(
        tmp_path, "README.md", "dataset_info.json", "dataset_infos.json", "state.json", "LICENSE",
        ".cache/c.jsonl", ".d.jsonl", "__pycache__/e.jsonl", "checksums.json", "config.json",
        "sha256sums.txt", "deep/README.json", "make.py", "a.jsonl.sha256", ".gitattributes",
        content="{}",
    )  # fmt: skip
    assert check(name=str(tmp_path)) == (f"data: {tmp_path}: split train is a.jsonl, deep/b.jsonl",)


def test_a_folder_without_data_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data files there; valid"):
        local_split(tmp_path, "train")
    fill(tmp_path, "rows.txt", "README.md")
    with pytest.raises(UserError, match=r"no data files there; there are README\.md, rows\.txt"):
        local_split(tmp_path, "train")


def test_shards_that_are_missing_are_listed(tmp_path: Path) -> None:
    names = [f"train-{number:05}-of-00004-ab{number}.jsonl" for number in (0, 1, 3)]
    fill(tmp_path, *names, "test-00000-of-00001.jsonl")
    lines = check(name=str(tmp_path))
    assert lines[0] == (
        f"data: {tmp_path}: shards of split train are missing: train-00002-of-00004"
    )
    fill(tmp_path, "train-00002-of-00004-x.jsonl")
    assert not any("are missing: " in line for line in check(name=str(tmp_path)))
    assert not any("are missing: " in line for line in check(name=str(tmp_path / names[0])))


def test_what_may_hold_rows_and_is_not_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "train-a.jsonl", "more/train-b.tar.gz", "train-c.zip", "notes.txt")
    (line,) = check(name=str(tmp_path))
    assert line.endswith("is train-a.jsonl; left out: more/train-b.tar.gz, train-c.zip")
    (tmp_path / "train-d.jsonl").symlink_to("blobs/d")
    with pytest.raises(UserError, match=r"train-d\.jsonl is a link to blobs/d, which is not there"):
        local_split(tmp_path, "train")


@pytest.mark.parametrize(
    ("split", "validation", "said"),
    [
        ("train", {"validation_split": "train[:1]"}, True),
        ("train[1:]", {"validation_split": "train[:1]"}, False),
        ("train", {"validation": "train.jsonl"}, True),
        ("train", {"validation_split": "test"}, False),
    ],
)
def test_rows_validated_on_that_are_trained_on_are_told(
    tmp_path: Path, split: str, validation: dict[str, str], said: bool
) -> None:
    fill(tmp_path, "train.jsonl", "test.jsonl", content=ROW * 2)
    if "validation" in validation:
        validation = {"validation": str(tmp_path / validation["validation"])}
    lines = check(name=str(tmp_path), split=split, **validation)
    assert any("are validated on, too" in line for line in lines) is said


def test_links_that_run_in_a_circle_end(tmp_path: Path) -> None:
    fill(tmp_path, "deep/a.jsonl")
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "deep" / "a.jsonl")
    assert files(tmp_path) == ["b.jsonl", "deep/a.jsonl"]


def test_a_file_in_two_splits_by_its_name_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train_dev.jsonl", "train.jsonl")
    with pytest.raises(UserError, match=r"_dev\.jsonl is in the splits train and validation"):
        check(name=str(tmp_path))
    assert check(name=str(tmp_path / "train_dev.jsonl")) == ()


def test_a_folder_to_validate_on(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", "val.jsonl", "test.jsonl", "only/rows.jsonl", "held/test.jsonl")
    assert held_out_split(tmp_path) == "validation"
    assert held_out_split(tmp_path / "only") == "train"
    assert held_out_split(tmp_path / "held") == "test"
    (tmp_path / "val.jsonl").unlink()
    with pytest.raises(UserError, match="which to validate on is not known"):
        held_out_split(tmp_path)


CARD = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: "part-*/*.jsonl"
  - split: extra
    path: ["more.jsonl", "deep/**"]
- config_name: small
  data_dir: deep
---
# Words
"""


def test_a_readme_names_the_files_of_splits(tmp_path: Path) -> None:
    fill(
        tmp_path, "part-1/a.jsonl", "part-2/b.jsonl", "more.jsonl", "deep/train/c.jsonl", "d.jsonl"
    )
    (tmp_path / "README.md").write_text(CARD)
    assert files(tmp_path) == ["part-1/a.jsonl", "part-2/b.jsonl"]
    assert files(tmp_path, "extra") == ["more.jsonl", "deep/train/c.jsonl"]
    small = local_split(tmp_path, "train", "small")
    assert [file.name for file in small.files] == ["c.jsonl"]
    with pytest.raises(UserError, match="no configuration 'smal'; did you mean 'small'"):
        local_split(tmp_path, "train", "smal")
    (tmp_path / "more.jsonl").unlink()
    with pytest.raises(UserError, match=r"names more\.jsonl for the split extra"):
        local_split(tmp_path, "extra")
    assert len(files(tmp_path)) == 2, "the files of other splits need not be there"
    (tmp_path / "README.md").write_text("# Words\n")
    with pytest.raises(UserError, match="no configuration 'small': its README lists none"):
        local_split(tmp_path, "train", "small")


@pytest.mark.parametrize("name", ["data/mydata", "mydata", "./mydata", "my.data"])
def test_what_is_here_is_no_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, f"{name}/train.jsonl", "elsewhere/recipe.yaml")
    changes = {"data.name": name, "data.validation_split": None}
    assert load("tiny", (), changes).data.name == str(tmp_path / name)
    assert load("tiny", (f"model.name={name}",)).model.name == str(tmp_path / name)
    (tmp_path / "mine.yaml").write_text(f"name: a\nmodel: {{name: a/b}}\ndata: {{name: {name}}}\n")
    assert load("mine.yaml").data.name == str(tmp_path / name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load("../mine.yaml").data.name == str(tmp_path / name), "from the recipe's folder"
    if "." not in name:
        (tmp_path / "elsewhere/hub.yaml").write_text((tmp_path / "mine.yaml").read_text())
        assert load("hub.yaml").data.name == name, "nothing of that name is beside the recipe"


def test_a_recipe_elsewhere_means_the_hub_whatever_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "here/org/name/train.jsonl", "there/x")
    (tmp_path / "there/mine.yaml").write_text("name: a\nmodel: {name: a/b}\ndata: {name: org/name}")
    monkeypatch.chdir(tmp_path / "here")
    assert load("../there/mine.yaml", ["data.limit=3"]).data.name == "org/name"


def test_only_configs_of_a_card_are_read(tmp_path: Path) -> None:
    fill(tmp_path, "a/b.jsonl", "c.jsonl")
    card = "---\ntags: [x\nconfigs:\n- config_name: default\n\n  data_files: a/*\nother: ]\n---\n"
    (tmp_path / "README.md").write_text(card)
    assert files(tmp_path) == ["a/b.jsonl"]
    (tmp_path / "README.md").write_text("---\nx: y\nconfigs:\n- [\n---\n")
    with pytest.raises(UserError, match=r"README\.md:[345]: not valid YAML"):
        files(tmp_path)


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"text": "a", "": 0, "\x1b[31mred\n": 1, "x" * 200: 2}) + "\n")
    (line,) = check(name=str(file))
    assert line == f"data: columns left out of training: (no name), \\x1b[31mred\\n, {'x' * 80}..."


def test_without_pyarrow_tables_are_left_to_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpclaunch.dataset.check.can_read", lambda: False)
    (tmp_path / "a.parquet").write_bytes(b"PAR1....PAR1")
    (line,) = check(name=str(tmp_path / "a.parquet"))
    assert "rows of parquet files are checked in the job" in line
    (tmp_path / "a.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="is no parquet file"):
        check(name=str(tmp_path / "a.parquet"))


def test_only_rows_of_the_slice_must_be_good(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(ROW * 8 + json.dumps({"text": ""}) + "\n" + ROW)
    for split in ("train[:8]", "train[:80%]", "train[-1:]", "train[90%:]", "train[:2]+train[9:]"):
        assert check(name=str(file), split=split) == ()
    for split in ("train", "train[:9]", "train[50%:]", "train[-2:]", "train[:2]+train[8:]"):
        with pytest.raises(UserError, match=r"rows\.jsonl:9: 'text' is empty"):
            check(name=str(file), split=split)


def test_columns_that_are_left_out_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(ROW + json.dumps({"text": "a", "id": 1, "source": "b"}) + "\n")
    assert check(name=str(file)) == ("data: columns left out of training: id, source",)


def test_rows_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", content=ROW * 10 + "\n")
    fill(tmp_path, "test.jsonl", "broken/x.jsonl", content="{")
    fill(tmp_path, "list/x.json", content=json.dumps([{"text": "a"}] * 4))
    for split, rows in (("train", 10), ("train[:30%]", 3), ("train[8:]+train[:1]", 3)):
        assert count_samples(Data(name=str(tmp_path), split=split)) == rows
    assert count_samples(Data(name=str(tmp_path / "list"))) == 4
    assert count_samples(Data(name="org/name")) is None
    assert count_samples(Data(name=str(tmp_path), split="validation")) is None
