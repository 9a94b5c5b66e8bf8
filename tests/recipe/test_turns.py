"""What rows mean: every column that bears on training is used, or the row is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.recipe.objectives import OBJECTIVES, Shape
from hpclaunch.recipe.shapes import BEARING, convert, detect, left_out, row_problem

ASK = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
TALK = [ASK, ANSWER]
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bonn"}}}
PLAIN: tuple[tuple[Shape, dict[str, Any]], ...] = (
    ("text", {"text": "a"}),
    ("prompt_completion", {"prompt": "q", "completion": "a"}),
)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def messages_of(row: dict[str, Any], shape: Any = "messages", **options: Any) -> Any:
    return convert(row, shape, chat=True, **options)["messages"]


def said(*turns: dict[str, Any]) -> str:
    return row_problem({"messages": list(turns)}, "messages") or ""


def test_a_column_system_is_the_first_turn() -> None:
    system = {"role": "system", "content": "Be brief."}
    sharegpt = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    row = {"system": "Be brief.", "conversations": sharegpt}
    assert messages_of(row, "conversations") == [system, *TALK]
    assert messages_of({"system": "Be brief.", "messages": TALK}) == [system, *TALK]
    assert messages_of({"system": "Be brief.", "messages": [system, *TALK]}) == [system, *TALK]
    for none in ("", " ", None):
        assert messages_of({"system": none, "messages": TALK}) == TALK
    pair = {"system": "Be brief.", "prompt": [ASK], "completion": [ANSWER]}
    assert convert(pair, "prompt_completion", chat=True)["prompt"] == [system, ASK]
    alpaca = {"system": "Be brief.", "instruction": "q", "output": "a"}
    assert convert(alpaca, "alpaca", chat=True)["prompt"] == [system, ASK]
    other = {"system": "Be long.", "messages": [system, *TALK]}
    assert "another system turn" in (row_problem(other, "messages") or "")


def test_alpacas_history_is_turns_whose_answers_are_learnt() -> None:
    row = {"instruction": "q2", "input": "", "output": "a2", "history": [["q1", "a1"]]}
    turns = messages_of(row, "alpaca")
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"),
    ]  # fmt: skip
    nothing: tuple[Any, ...] = (None, [], "")
    for none in nothing:
        assert messages_of({**row, "history": none}, "alpaca") == turns[2:]
    for wrong in (["q1"], [["q1", "a1", "x"]], "q1", [{"q": "a"}], 3):
        assert "'history'" in (row_problem({**row, "history": wrong}, "alpaca") or "")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("human", "user"),
        ("User", "user"),
        ("gpt", "assistant"),
        ("model", "assistant"),
        ("developer", "system"),
        ("observation", "tool"),
        ("function", "tool"),
        ("ipython", "tool"),
    ],
)
def test_each_name_of_a_role_is_known(name: str, role: str) -> None:
    turn = messages_of({"messages": [{"role": name, "content": "x"}, ASK, ANSWER]})[0]
    assert turn == {"role": role, "content": "x"}
    row = {"conversations": [{"from": name, "value": "x"}, ASK, ANSWER]}
    assert messages_of(row, "conversations")[0] == turn


def test_sharegpts_function_call_is_a_tool_call() -> None:
    text = '{"name": "weather", "arguments": {"city": "Bonn"}}'
    turns = messages_of(
        {
            "conversations": [
                {"from": "human", "value": "q"},
                {"from": "function_call", "value": text},
                {"from": "observation", "value": '{"t": 3}'},
                {"from": "gpt", "value": "3 degrees"},
            ]
        },
        "conversations",
    )
    assert turns[1] == {"role": "assistant", "tool_calls": [CALL]}
    assert turns[2] == {"role": "tool", "content": '{"t": 3}'}
    assert "no JSON" in said(ASK, {"role": "function_call", "content": "weather(Bonn)"})


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [CALL]},
        {"tool_calls": [CALL]},
        {"tool_calls": [{"function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}]},
        {"tool_calls": [{"name": "weather", "arguments": {"city": "Bonn"}}]},
        {"tool_calls": '[{"name": "weather", "arguments": {"city": "Bonn"}}]'},
        {"function_call": {"name": "weather", "arguments": '{"city": "Bonn"}'}},
    ],
)
def test_a_tool_call_alone_is_an_answer(message: dict[str, Any]) -> None:
    turns = messages_of({"messages": [ASK, {"role": "assistant", **message}]})
    assert turns[1] == {"role": "assistant", "tool_calls": [CALL]}


def test_a_wrong_tool_call_is_named() -> None:
    def call(value: Any) -> str:
        return said(ASK, {"role": "assistant", "tool_calls": [value]})

    assert "message 2 has a tool call without the function's name" in call({"function": {}})
    bad = call({"function": {"name": "f", "arguments": "{city"}})
    assert "message 2 calls f with arguments that cannot be read as JSON" in bad
    assert "no mapping" in call({"name": "f", "arguments": [1]})
    assert "of the role user has tool_calls" in said({**ASK, "tool_calls": [CALL]}, ANSWER)


def test_tools_reach_the_template_in_its_own_form() -> None:
    bare = {"name": "weather", "parameters": {"type": "object"}}
    for tools in ([TOOL], [bare], TOOL, '[{"name": "weather", "parameters": {"type": "object"}}]'):
        assert convert({"messages": TALK, "tools": tools}, "messages", chat=True)["tools"] == [TOOL]
    nothing: tuple[Any, ...] = (None, "", [], "[]")
    for none in nothing:
        assert "tools" not in convert({"messages": TALK, "tools": none}, "messages", chat=True)
    wrong = row_problem({"messages": TALK, "tools": "weather"}, "messages") or ""
    assert "'tools' cannot be read as JSON" in wrong


def test_columns_fill_what_a_row_lacks_with_null() -> None:
    arguments = {"city": "Bonn", "days": None}
    call = {"function": {"name": "weather", "arguments": arguments}}
    row = {"messages": [ASK, {"role": "assistant", "tool_calls": [call]}]}
    assert messages_of(row)[1]["tool_calls"][0]["function"]["arguments"] == arguments
    kept = messages_of(row, columnar=True)[1]["tool_calls"][0]["function"]["arguments"]
    assert kept == {"city": "Bonn"}


def test_a_message_of_weight_0_is_not_learnt() -> None:
    keys = (("weight", 0), ("weight", 0.0), ("train", False), ("loss", False), ("training", 0))
    for key, value in (*keys, ("train_on_turn", False)):
        turns = messages_of({"messages": [ASK, {**ANSWER, key: value}, ASK, {**ANSWER, key: 1}]})
        assert [turn.get("weight") for turn in turns] == [None, 0, None, None]
        assert key == "weight" or key not in turns[1]
    assert "all have weight 0" in said(ASK, {**ANSWER, "weight": 0})
    assert "only 0 and 1" in said(ASK, {**ANSWER, "weight": 0.5})
    assert "of the role user has weight 1" in said({**ASK, "weight": 1}, ANSWER)
    assert not said({**ASK, "weight": 0}, ANSWER)
    assert not said({**ASK, "weight": None}, {**ANSWER, "weight": None})


@pytest.mark.parametrize("key", ["mask", "loss_mask", "training_detail"])
def test_a_mark_that_is_read_in_two_ways_is_refused(key: str) -> None:
    assert f"message 2 has a key '{key}'" in said(ASK, {**ANSWER, key: 1})
    assert not said(ASK, {**ANSWER, key: None})


def test_other_names_of_a_column_mean_the_same() -> None:
    system = {"role": "system", "content": "Be brief."}
    for name in ("system_prompt", "system_message"):
        row = {name: "Be brief.", "messages": TALK}
        assert messages_of(row) == [system, *TALK]
        assert left_out([*row, "id"], "messages") == ["id"]
        assert messages_of({**row, "system": ""}) == [system, *TALK]
        assert "which differ" in (row_problem({**row, "system": "Be long."}, "messages") or "")
        assert f"{name}" not in (row_problem({"text": "a", name: ""}, "text") or "")
        assert "'system'" in (row_problem({"text": "a", name: "Be brief."}, "text") or "")
    functions = {"messages": TALK, "functions": [TOOL["function"]]}
    assert convert(functions, "messages", chat=True)["tools"] == [TOOL]
    alpaca = {"instruction": "q2", "output": "a2", "chat_history": [["q1", "a1"]]}
    assert [turn["content"] for turn in messages_of(alpaca, "alpaca")] == ["q1", "a1", "q2", "a2"]


def test_content_in_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages_of({"messages": [{**ASK, "content": parts}, ANSWER]})[0]["content"] == "ab"
    image = [{"type": "image_url", "image_url": {"url": "x"}}]
    assert "message 1 holds a part of the type 'image_url'" in said({**ASK, "content": image})


def test_messages_may_be_json_in_a_text() -> None:
    text = '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'
    assert messages_of({"messages": text}) == TALK
    assert "must be a list" in (row_problem({"messages": "hello"}, "messages") or "")


def test_an_answer_that_is_empty_would_be_learnt_as_one() -> None:
    assert "empty answer" in said(ASK, ANSWER, ASK, {**ANSWER, "content": " "})
    assert not said(ASK, {**ANSWER, "content": "", "weight": 0}, ASK, ANSWER)


def test_a_completion_holds_answers_alone() -> None:
    row = {"prompt": [ASK], "completion": [ANSWER, ASK]}
    said = row_problem(row, "prompt_completion") or ""
    assert "'completion' has a turn of the role user, which would be learnt" in said


@pytest.mark.parametrize("key", ["name", "tool_call_id", "reasoning_content"])
def test_what_else_templates_read_is_kept(key: str) -> None:
    assert messages_of({"messages": [{**ASK, key: "x"}, ANSWER]})[0][key] == "x"


@pytest.mark.parametrize(
    ("columns", "objective"),
    [
        (["prompt", "chosen", "rejected"], "DPO"),
        (["chosen", "rejected"], "DPO"),
        (["instruction", "input", "chosen", "rejected"], "DPO"),
        (["prompt", "response", "label"], "KTO"),
        (["prompt", "completions", "labels"], "a process reward model"),
        (["prompt"], "GRPO"),
    ],
)
def test_rows_of_other_objectives_are_refused_with_what_takes_them(
    columns: list[str], objective: str
) -> None:
    with pytest.raises(UserError, match=rf"which {objective}.* takes and objective sft does not"):
        detect(columns, "auto", "rows.jsonl")


def test_other_columns_are_no_preference() -> None:
    with pytest.raises(UserError, match="tokenized already"):
        detect(["input_ids", "labels", "attention_mask"], "auto", "rows.jsonl")
    with pytest.raises(UserError, match=r"data\.format auto needs"):
        detect(["sentence", "label"], "auto", "rows.jsonl")


def test_labelled_answers_are_refused_with_what_takes_them() -> None:
    for label in (False, True, 0, 1, "false"):
        pair = {"prompt": "q", "completion": "a", "label": label}
        for wanted in ("auto", "prompt_completion"):
            assert "which KTO takes" in (row_problem(pair, "prompt_completion", wanted) or "")
        assert "KTO" in (row_problem({"messages": TALK, "label": label}, "messages") or "")
    rated = {"messages": TALK, "chosen": TALK, "rejected": TALK}
    assert "which DPO takes" in (row_problem(rated, "messages") or "")
    assert row_problem(rated, "messages", "messages") is None
    assert row_problem({"text": "a", "label": 1}, "text") is None
    assert left_out(["text", "label", "id"], "text") == ["label", "id"]


def test_what_a_shape_cannot_use_is_refused_or_left_out_on_request() -> None:
    for column in ("system", "tools", "history", "images"):
        for shape, plain in PLAIN:
            row = {**plain, column: ["x"]}
            assert f"has a column '{column}'" in (row_problem(row, shape) or "")
            assert row_problem(row, shape, shape) is None


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "tool_calls", "function", "name"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
_NAMES = sorted({*BEARING, "messages", "conversations", "prompt", "completion", "output", "text"})


@given(st.dictionaries(st.sampled_from([*_NAMES, "instruction", "input"]), _VALUES, max_size=4))
def test_any_row_is_taken_or_refused_in_words(row: dict[str, Any]) -> None:
    for shape in OBJECTIVES["sft"].shapes:
        problem = row_problem(row, shape)
        assert problem is None or isinstance(problem, str)
