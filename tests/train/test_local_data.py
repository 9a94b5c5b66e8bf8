"""Local data in the job: the rows that were looked at before submission, unchanged."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.dataset.check import check_data
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Data, Model, Recipe
from hpclaunch.train.data import Rows, load_rows

TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def load(path: Path, *, chat: bool = True, **more: Any) -> Rows:
    return load_rows(Data(name=str(path), **more), "sft", chat=chat, check=True)


def write(file: Path, *rows: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def same_fault(path: Path, **more: Any) -> str:
    """Return what the job refuses, which must be what the submission refuses."""
    with pytest.raises(UserError) as before:
        check_data(Recipe(name="x", model=Model(name="m"), data=Data(name=str(path), **more)))
    with pytest.raises(UserError) as later:
        load(path, **more)
    assert str(before.value) == str(later.value)
    return str(later.value)


def test_texts_stay_texts(tmp_path: Path) -> None:
    texts = ["2024-01-01", "2024-01-02T10:00:00Z", "42", "true", "null", "1e5", "[]", "{}", '"x"']
    file = write(tmp_path / "a.jsonl", *({"prompt": t, "completion": t} for t in texts))
    rows = load(file, chat=False).train
    assert rows["completion"] == rows["prompt"] == texts
    talks = [[{"role": "user", "content": t}, {"role": "assistant", "content": t}] for t in texts]
    file = write(tmp_path / "b.jsonl", *({"messages": talk} for talk in talks))
    assert load(file).train["messages"] == talks
    (tmp_path / "c.json").write_text(json.dumps([{"text": text} for text in texts]))
    assert load(tmp_path / "c.json").train["text"] == texts


def test_rows_keep_the_keys_and_numbers_that_they_have(tmp_path: Path) -> None:
    def row(arguments: Any) -> Any:
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        return {"messages": [TALK[0], {"role": "assistant", "tool_calls": [call]}]}

    different = [{"x": 0.123456789012345, "y": None}, {"z": [1, "2"]}, {}]
    rows = load(write(tmp_path / "a.jsonl", *map(row, different))).train
    found = [messages[1]["tool_calls"][0]["function"]["arguments"] for messages in rows["messages"]]
    assert found == different


def test_other_columns_do_not_matter(tmp_path: Path) -> None:
    many = [{"text": "word " * 200, "id": 1}] * 12_000
    file = write(tmp_path / "a.jsonl", *many, {"text": "last", "id": "x", "new": {"a": [1]}})
    rows = load(file)
    assert len(rows.train) == 12_001 and rows.train[-1] == {"text": "last"}
    assert rows.columns_left_out == ("id", "new")


def test_split_and_slice_and_limit(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", *({"text": f"train {n}"} for n in range(20)))
    write(tmp_path / "dev.jsonl", *({"text": f"dev {n}"} for n in range(10)))
    rows = load(tmp_path, split="train[:10%]+validation[-1:]", validation_split="dev", limit=9)
    assert rows.train["text"] == ["train 0", "train 1", "dev 9"]
    assert rows.validation is not None and len(rows.validation) == 10
    assert load(tmp_path, limit=2).train["text"] == ["train 0", "train 1"]
    write(tmp_path / "train.jsonl", {"text": "changed"})
    assert load(tmp_path).train["text"] == ["changed"], "nothing old comes from the cache"
    message = same_fault(tmp_path, split="test")
    assert "has no split 'test', but train, validation" in message


def test_faults_are_the_same_before_and_in_the_job(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"text": "a"}, {"text": 7})
    assert "a.jsonl:2: 'text' is empty or no text" in same_fault(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "\\ud83d"}\n')
    assert "a.jsonl:3: 'text' holds half" in same_fault(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b", "text": "c"}\n')
    assert "a.jsonl:2: the key 'text' stands twice" in same_fault(tmp_path)
    write(tmp_path / "a.jsonl", {"text": "a"})
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n{"text": ""}\n'))
    assert "b.jsonl.gz:2: 'text' is empty" in same_fault(tmp_path)
    assert load(tmp_path, limit=2).train["text"] == ["a", "a"]
    message = same_fault(tmp_path, split="train[1:]")
    assert "b.jsonl.gz:2" in message
    (tmp_path / "b.jsonl.gz").unlink()
    (tmp_path / "a.jsonl").unlink()
    (tmp_path / "a.tsv").write_text('prompt\tcompletion\na\t"b\nc"\nd\t\n')
    assert "a.tsv:4: 'completion' is empty" in same_fault(tmp_path)


def test_rows_under_a_key_are_the_same_fault(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"data": [{"text": "a"}]}, indent=1))
    assert "x.json:1: the rows stand under the key 'data'" in same_fault(tmp_path)
    (tmp_path / "x.json").unlink()
    (tmp_path / "x.csv").write_text("question,answer\na,b\n")
    assert "x.csv:1 has the columns answer, question" in same_fault(tmp_path)


def test_pairs_of_texts_and_of_messages_are_not_mixed(tmp_path: Path) -> None:
    texts = {"prompt": "q", "completion": "a"}
    talks = {"prompt": TALK[:1], "completion": TALK[1:]}
    file = write(tmp_path / "a.jsonl", texts, texts, talks)
    assert "a.jsonl:3: 'prompt' is a list of messages, and in the first row" in same_fault(file)
    file = write(tmp_path / "b.jsonl", talks, texts)
    assert "b.jsonl:2: 'prompt' is a text, and in the first row" in same_fault(file)


def test_files_that_are_validated_on_are_not_left_out(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        write(tmp_path / f"{name}.jsonl", {"text": "a"})
    data = Data(name=str(tmp_path), validation_split="dev")
    first, second = check_data(Recipe(name="x", model=Model(name="m"), data=data))
    assert first == f"data: {tmp_path}: split train is train.jsonl; left out: test.jsonl"
    assert second == f"data: {tmp_path}: split dev is dev.jsonl; left out: test.jsonl"


def test_shards_may_have_columns_of_their_own(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list([{"text": "a"}]).to_parquet(tmp_path / "train-1.parquet")
    Dataset.from_list([{"text": "b", "id": 1}]).to_parquet(tmp_path / "train-2.parquet")
    rows = load(tmp_path)
    assert rows.train["text"] == ["a", "b"]
    assert rows.columns_left_out == ("id",)


@pytest.mark.parametrize("several", [False, True])
def test_what_save_to_disk_wrote(tmp_path: Path, several: bool) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"messages": TALK, "n": n} for n in range(5)])
    rows.set_format("numpy", columns=["n"])
    saved = DatasetDict(train=rows, test=rows.select(range(2))) if several else rows
    saved.save_to_disk(str(tmp_path / "saved"))
    loaded = load(tmp_path / "saved")
    assert loaded.train["messages"] == [TALK] * 5
    assert loaded.columns_left_out == ("n",)
    if several:
        with_test = load(tmp_path / "saved", split="train[:2]", validation_split="test")
        assert (len(with_test.train), len(with_test.validation or ())) == (2, 2)
        assert len(load(tmp_path / "saved" / "test").train) == 2
    message = same_fault(tmp_path / "saved", split="dev")
    assert "has no split 'dev', but train, test" in message or "is a single Dataset" in message
    (data, *_) = (tmp_path / "saved").rglob("*.arrow")
    data.unlink()
    split = data.parent.name if several else "train"
    assert "is not whole: data-00000" in same_fault(tmp_path / "saved", split=split)


def test_tables_are_looked_into(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Json

    rows = [{"messages": TALK}, {"messages": [TALK[0]]}]
    Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    assert "a.parquet, row 2: 'messages' has no answer" in same_fault(tmp_path / "a.parquet")
    features = Features({"messages": Json()})
    Dataset.from_list(rows[:1], features=features).to_parquet(tmp_path / "b.parquet")
    assert load(tmp_path / "b.parquet").train["messages"] == [TALK]
    check_data(Recipe(name="x", model=Model(name="m"), data=Data(name=str(tmp_path / "b.parquet"))))
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.parquet cannot be read: "):
        check_data(
            Recipe(name="x", model=Model(name="m"), data=Data(name=str(tmp_path / "a.parquet")))
        )
