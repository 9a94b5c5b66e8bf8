"""Shapes of rows: told from the columns, checked row by row, converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Data
from hpclaunch.recipe.shapes import convert, detect, row_problem
from hpclaunch.train.data import load_rows
from tests.train.conftest import write_jsonl

TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("columns", "shape"),
    [
        (["messages", "id"], "messages"),
        (["conversations"], "conversations"),
        (["prompt", "completion"], "prompt_completion"),
        (["instruction", "input", "output"], "alpaca"),
        (["instruction", "input", "output", "text"], "alpaca"),
        (["text"], "text"),
    ],
)
def test_a_shape_is_told_from_its_columns(columns: list[str], shape: str) -> None:
    assert detect(columns, "auto", "x") == shape


def test_unknown_columns_are_named_with_what_would_do() -> None:
    with pytest.raises(UserError) as raised:
        detect(["question", "answer"], "auto", "my.jsonl")
    said = str(raised.value)
    assert "my.jsonl has the columns answer, question" in said
    assert "prompt+completion" in said and "\n" not in said


@pytest.mark.parametrize(
    ("row", "shape", "problem"),
    [
        ({"messages": TALK}, "messages", None),
        ({"messages": TALK[:1]}, "messages", "no answer"),
        ({"messages": "hello"}, "messages", "must be a list"),
        ({"messages": []}, "messages", "must be a list"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages", "'robot'"),
        ({"messages": [{"role": "user", "content": None}, TALK[1]]}, "messages", "no text"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "conversations", "no answer"),
        ({"prompt": "q", "completion": "a"}, "prompt_completion", None),
        ({"prompt": "q", "completion": " "}, "prompt_completion", "'completion' is empty"),
        ({"prompt": "q", "completion": TALK[1:]}, "prompt_completion", "must both be"),
        ({"prompt": TALK[:1], "completion": TALK[1:]}, "prompt_completion", None),
        ({"instruction": "q", "input": "", "output": "a"}, "alpaca", None),
        ({"instruction": "q", "input": "", "output": ""}, "alpaca", "'output' is empty"),
        ({"text": ""}, "text", "'text' is empty"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(row: Any, shape: Any, problem: str | None) -> None:
    found = row_problem(row, shape)
    assert found is None if problem is None else problem in (found or "")


def test_alpaca_becomes_a_turn_of_each_side() -> None:
    row = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
    assert convert(row, "alpaca", chat=True) == {
        "prompt": [{"role": "user", "content": "Add.\n\n1 and 2"}],
        "completion": [{"role": "assistant", "content": "3"}],
    }
    plain = convert(row, "alpaca", chat=False)
    assert plain == {"prompt": "Add.\n\n1 and 2\n\n", "completion": "3"}


def test_sharegpt_turns_become_messages() -> None:
    row = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    assert convert(row, "conversations", chat=True) == {"messages": TALK}


def rows_of(path: Path, **more: Any) -> Any:
    return load_rows(Data(name=str(path), **more), "sft", chat=True, check=True)


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [{"messages": TALK}] * 3)
    path.write_text(path.read_text("utf-8") + '{"messages": [\n', "utf-8")
    with pytest.raises(UserError) as raised:
        rows_of(path)
    assert f"{path}:4: not valid JSON" in str(raised.value)


def test_a_row_of_another_form_is_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [{"messages": TALK}] * 2 + [{"messages": TALK[:1]}])
    with pytest.raises(UserError) as raised:
        rows_of(path)
    assert f"{path}:3: 'messages' has no answer of the assistant" in str(raised.value)


def test_only_what_training_uses_is_kept(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [{"messages": TALK, "id": n} for n in range(5)])
    rows = rows_of(path, limit=3)
    assert rows.train.column_names == ["messages"]
    assert len(rows.train) == 3 and rows.messages and rows.chat


def test_a_folder_of_files_is_one_dataset(tmp_path: Path) -> None:
    for number in range(2):
        write_jsonl(tmp_path / f"{number}.jsonl", [{"text": "words"}] * 4)
    rows = rows_of(tmp_path)
    assert len(rows.train) == 8 and not rows.messages and not rows.chat


def test_a_validation_file_stands_beside_the_training_rows(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "t.jsonl", [{"text": "words"}] * 4)
    held = write_jsonl(tmp_path / "v.jsonl", [{"text": "others"}] * 2)
    rows = rows_of(train, validation=str(held))
    assert len(rows.validation) == 2


def test_the_builtin_questions_are_whole_and_apart() -> None:
    data = Data(name="builtin:cluster-questions", validation_split="validation")
    rows = load_rows(data, "sft", chat=True, check=True)
    asked = {row["messages"][0]["content"] for row in rows.train}
    assert rows.validation is not None
    held = {row["messages"][0]["content"] for row in rows.validation}
    assert len(asked) == len(rows.train) >= 150
    assert held and not held & asked


def test_conversations_need_a_chat_template(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [{"messages": TALK}])
    with pytest.raises(UserError, match="no chat template"):
        load_rows(Data(name=str(path)), "sft", chat=False, check=True)


def test_an_unknown_builtin_dataset_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'builtin:cluster-questions'"):
        load_rows(Data(name="builtin:cluster-question"), "sft", chat=True, check=True)


def test_rows_of_a_csv_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('instruction,input,output\n"Add, please",1 and 2,3\nSay hello,,hello\n')
    rows = load_rows(Data(name=str(file)), "sft", chat=False, check=True)
    assert rows.train[0] == {"prompt": "Add, please\n\n1 and 2\n\n", "completion": "3"}
    assert rows.train[1] == {"prompt": "Say hello\n\n", "completion": "hello"}


def test_cells_of_a_csv_file_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes("\ufeffprompt,completion,id\n1+1,2,1\nname?,007,2\nempty?,NA,\n".encode())
    rows = load_rows(Data(name=str(file)), "sft", chat=False, check=True)
    assert rows.train["completion"] == ["2", "007", "NA"]
    assert rows.train["prompt"] == ["1+1", "name?", "empty?"]
