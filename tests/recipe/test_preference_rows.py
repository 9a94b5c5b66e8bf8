"""Rows with two answers, or one and a label: each form as training takes it, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.recipe.shapes import convert, detect, left_out, row_problem

ASK = {"role": "user", "content": "q"}
GOOD = {"role": "assistant", "content": "good"}
BAD = {"role": "assistant", "content": "bad"}
WANTED = {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}


def pair(row: dict[str, Any], shape: Any = None, **options: Any) -> dict[str, Any]:
    shape = shape or detect(list(row), "auto", "rows.jsonl", "dpo")
    return convert(row, shape, chat=True, **options)


@pytest.mark.parametrize(
    "row",
    [
        WANTED,
        {"prompt": "q", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [ASK], "chosen": "good", "rejected": "bad"},
        {"prompt": [ASK], "chosen": GOOD, "rejected": BAD},
        {"prompt": "q", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"chosen": json.dumps([ASK, GOOD]), "rejected": json.dumps([ASK, BAD])},
        {"chosen": [{"from": "human", "value": "q"}, GOOD], "rejected": [ASK, BAD], "id": 3},
    ],
)
def test_each_form_of_conversations_is_the_same_pair(row: dict[str, Any]) -> None:
    assert pair(row) == WANTED


def test_texts_stay_texts() -> None:
    row = {"prompt": "q: ", "chosen": "good", "rejected": "bad"}
    assert pair(row) == row
    implicit = {"chosen": "Human: q\n\nAI: I see it", "rejected": "Human: q\n\nAI: I sink"}
    assert pair(implicit) == {
        "prompt": "Human: q\n\nAI: I", "chosen": " see it", "rejected": " sink"
    }  # fmt: skip


def test_a_system_text_stands_before_the_prompt() -> None:
    system = {"role": "system", "content": "Be kind."}
    assert pair({**WANTED, "system": "Be kind."})["prompt"] == [system, ASK]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": ""}, "'rejected' is empty"),
        ({"prompt": "q", "chosen": "a", "rejected": [BAD]}, "must both be texts"),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "'prompt' is empty"),
        ({"prompt": "x", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]}, "another prompt"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "no message in common"),
        ({"chosen": [ASK], "rejected": [ASK, BAD]}, "no message in common"),
        ({"chosen": "a b", "rejected": "c d"}, "nothing in common"),
        ({"chosen": "a b", "rejected": "a b"}, "are the same"),
        ({"question": "q", "chosen": "a b", "rejected": "a c"}, "rename it to prompt"),
        ({**WANTED, "chosen": [{**GOOD, "weight": 0}]}, "weight 0"),
        ({**WANTED, "chosen": [ASK, ASK]}, "another prompt"),
        ({**WANTED, "chosen": [GOOD, ASK]}, "ends with a turn of the role user"),
        ({**WANTED, "images": ["x"]}, "has a column 'images'"),
        ({**WANTED, "margin": "much"}, "'margin' must be a number"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "tools": [{}]}, "plain texts cannot use"),
    ],
)
def test_what_is_no_pair_is_named(row: dict[str, Any], said: str) -> None:
    shape = detect(list(row), "auto", "rows.jsonl", "dpo")
    assert said in (row_problem(row, shape) or "")


@pytest.mark.parametrize(
    ("label", "good"), [(True, True), (0, False), (1.0, True), ("false", False), ("1", True)]
)
def test_a_label_is_true_or_false(label: Any, good: bool) -> None:
    row = {"prompt": "q", "completion": "a", "label": label}
    assert convert(row, "unpaired", chat=True) == {**row, "label": good}


@pytest.mark.parametrize("label", [None, "good", 2, -1, 0.5, [], "NaN"])
def test_any_other_label_is_refused(label: Any) -> None:
    row = {"prompt": "q", "completion": "a", "label": label}
    assert "'label' must be true" in (row_problem(row, "unpaired") or "")


@pytest.mark.parametrize(
    ("objective", "columns", "said", "fix"),
    [
        ("kto", ["prompt", "chosen", "rejected"], "which DPO takes", "a row for each answer"),
        ("kto", ["messages", "kto_tag"], "kto_tag", "rename kto_tag to label"),
        ("dpo", ["prompt", "completion", "label"], "which KTO takes", "method.objective: kto"),
        ("dpo", ["messages"], "which SFT takes and objective dpo", "method.objective: sft"),
        ("reward", ["text"], "which pretraining takes", "method.objective: pretrain"),
        ("pretrain", ["messages"], "which SFT takes", "method.objective: sft"),
        ("pretrain", ["chosen", "rejected"], "which DPO takes", "method.objective: dpo"),
        ("sft", ["chosen", "rejected"], "which DPO takes", "method.objective: dpo"),
        ("dpo", ["x"], "needs prompt+chosen+rejected | chosen+rejected", "rename"),
    ],
)
def test_rows_of_another_objective_are_named_with_the_fix(
    objective: Any, columns: list[str], said: str, fix: str
) -> None:
    with pytest.raises(UserError) as raised:
        detect(columns, "auto", "rows.jsonl", objective)
    assert said in str(raised.value) and fix in raised.value.fix


def test_a_format_of_another_objective_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.format alpaca is no shape .* objective dpo"):
        detect(["instruction", "output"], "alpaca", "rows.jsonl", "dpo")
    assert detect(["chosen", "rejected"], "preference", "x", "reward") == "implicit_preference"


def test_the_margin_is_the_reward_objectives_alone() -> None:
    columns = ["prompt", "chosen", "rejected", "margin", "id"]
    assert left_out(columns, "preference", "reward") == ["id"]
    assert left_out(columns, "preference", "dpo") == ["margin", "id"]


TEXTS = st.text(st.sampled_from("ab \n"), min_size=1, max_size=12)


@given(first=TEXTS, second=TEXTS)
def test_an_implicit_prompt_and_its_answers_are_the_whole_texts(first: str, second: str) -> None:
    row = {"chosen": first, "rejected": second}
    if row_problem(row, "implicit_preference") is not None:
        return
    made = pair(row)
    assert made["prompt"] + made["chosen"] == first
    assert made["prompt"] + made["rejected"] == second
    assert made["prompt"].strip() and made["chosen"][0].isspace()


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("role", "content", "from", "value")), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(row=st.fixed_dictionaries({"prompt": ANY, "chosen": ANY, "rejected": ANY, "label": ANY}))
def test_any_values_make_a_pair_or_a_problem(row: dict[str, Any]) -> None:
    for shape in ("preference", "implicit_preference", "unpaired"):
        row_problem(row, shape, wanted="preference")
        row_problem({**row, "completion": row["chosen"]}, shape)
