"""The shape of local rows, by the first one: what is no row, and what stands in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpclaunch.dataset.rows import Row
from hpclaunch.dataset.shape import shape_of
from hpclaunch.errors import UserError
from tests.dataset.test_local import check


@pytest.mark.parametrize(
    ("value", "command"),
    [
        ({"data": [{"text": "a"}]}, "jq -c '.[\"data\"][]' x.json > rows.jsonl"),
        ({"type": "text_only", "instances": [{"text": "a"}]}, "jq -c '.[\"instances\"][]' x.json"),
        ({"version": 1, "data": [{"text": "a"}], "x": [{"y": 1}]}, "jq -c '.[\"data\"][]' x.json"),
        ({"id": 3, "row": {"text": "a"}}, "jq -c '.[\"row\"]' x.json"),
        ({"it's": [{"text": "a"}]}, """jq -c '.["it'"'"'s"][]' x.json"""),
    ],
)
def test_rows_under_a_key_are_named(tmp_path: Path, value: object, command: str) -> None:
    for indent in (None, 1):
        (tmp_path / "x.json").write_text(json.dumps(value, indent=indent))
        with pytest.raises(UserError) as caught:
            check(name=str(tmp_path / "x.json"))
        assert "x.json:1: the rows stand under the key '" in str(caught.value)
        assert command in str(caught.value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"prompt": ["a", "b"], "completion": ["c", "d"]}, "each key holds a whole column"),
        ({"1": {"text": "a"}, "2": {"text": "b"}}, "each row stands under a key of its own"),
    ],
)
def test_a_table_written_as_one_object_is_no_row(
    tmp_path: Path, value: object, problem: str
) -> None:
    (tmp_path / "x.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=problem):
        check(name=str(tmp_path / "x.json"))


def test_turns_of_another_objective_are_no_rows_under_a_key(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError) as caught:
        shape_of(Row(tmp_path / "x.jsonl", 1, row), "auto", "grpo")
    assert "stand under" not in str(caught.value)
    assert "SFT takes and objective grpo does not" in str(caught.value)


def test_turns_of_other_formats_are_no_rows_under_a_key(tmp_path: Path) -> None:
    parts = [{"role": "user", "parts": [{"text": "a"}]}]
    (tmp_path / "x.jsonl").write_text(json.dumps({"contents": parts}))
    with pytest.raises(UserError, match=r"has the columns contents; data\.format auto needs"):
        check(name=str(tmp_path / "x.jsonl"))
