"""Rows as tokens and labels: what bears on the loss reaches it, and what is lost is counted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpclaunch.chat.truncation import truncation
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Data
from hpclaunch.train.columns import IGNORED
from hpclaunch.train.data import load_rows
from hpclaunch.train.template import token_source
from hpclaunch.train.tokenize import Tokenized, masks_assistant, tokenize_rows
from tests.train.conftest import write_jsonl

ASK = {"role": "user", "content": "q"}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"box": 3}}}


@pytest.fixture
def tokenizer(tiny: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny)


def tokenized(path: Path, tokenizer: Any, **more: Any) -> Tokenized:
    rows = load_rows(Data(name=str(path)), "sft", chat=True, check=True)
    options = {
        "assistant_only_loss": rows.messages,
        "max_length": None,
        "packing": False,
        "packing_strategy": "bfd",
        "truncation_mode": "keep_start",
        "dataset_num_proc": None,
        **more,
    }
    arguments = SimpleNamespace(**options)
    source = token_source(tokenizer, assistant_only=masks_assistant(arguments, rows))
    return tokenize_rows(rows, "rows", source, arguments)


def learnt(tokenizer: Any, row: dict[str, list[int]]) -> str:
    return str(tokenizer.decode([token for token in row["labels"] if token != IGNORED]))


def test_system_tools_weights_and_calls_reach_the_tokens(tmp_path: Path, tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
        "<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    talk: list[dict[str, Any]] = [
        ASK,
        {"role": "assistant", "content": "bad", "weight": 0},
        ASK,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "red"},
        {"role": "assistant", "content": "It is red."},
    ]
    rows = [
        {"messages": talk, "system_prompt": "Be kind.", "functions": [{"name": "look"}], "id": 1},
        {"messages": [ASK, {"role": "assistant", "content": "plain"}], "id": 2},
    ]
    done = tokenized(write_jsonl(tmp_path / "rows.jsonl", rows), tokenizer)
    assert done.train.column_names == ["input_ids", "labels"]
    first, second = done.train
    text = tokenizer.decode(first["input_ids"])
    assert text.startswith("<look>[system]Be kind.<|eot_id|>[user]q")
    call = '{"name": "look", "arguments": {"box": 3}}'
    assert learnt(tokenizer, first) == f"{call}<|eot_id|>It is red.<|eot_id|>"
    assert learnt(tokenizer, second) == "plain<|eot_id|>"
    assert "look" not in tokenizer.decode(second["input_ids"])


def test_samples_that_lose_their_answer_are_counted_and_left_out(
    tmp_path: Path, tokenizer: Any
) -> None:
    long, short = "q " * 200, "q"
    rows = [
        {
            "messages": [
                {"role": "user", "content": long if n % 2 else short},
                {"role": "assistant", "content": "seen"},
            ]
        }
        for n in range(16)
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    for more in ({}, {"packing": True}):
        done = tokenized(path, tokenizer, max_length=64, **more)
        line = done.truncation.line() or ""
        assert line.startswith("8 of 16 samples have no token to learn from within 64;")
        assert len(done.train) == 8
        again = tokenized(path, tokenizer, max_length=done.truncation.needed_length, **more)
        assert len(again.train) == 16 and again.truncation.line() is None
    whole = tokenized(path, tokenizer, max_length=64, packing=True, packing_strategy="bfd_split")
    assert len(whole.train) == 16 and whole.truncation.line() is None
    end = tokenized(path, tokenizer, max_length=64, truncation_mode="keep_end")
    assert len(end.train) == 16 and end.truncation.line() is None
    with pytest.raises(
        UserError, match="all 16 samples of rows have no token to learn from within"
    ):
        tokenized(path, tokenizer, max_length=2)


def test_a_row_that_the_template_refuses_is_named_wherever_it_stands(
    tmp_path: Path, tokenizer: Any
) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}{{ m.content }}{% endfor %}"
    )
    answer = {"role": "assistant", "content": "a"}
    rows: list[dict[str, Any]] = [{"messages": [ASK, answer]}] * 11
    rows.append({"messages": [{"role": "system", "content": "s"}, ASK, answer]})
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(UserError) as raised:
        tokenized(path, tokenizer)
    said = str(raised.value)
    assert "rows.jsonl:12: the model's chat template refuses it: System role not supported" in said
    assert raised.value.fix.startswith("put the system text into the first turn of the user")


def test_part_of_an_answer_is_counted_apart() -> None:
    spans = [(2, 10, 10), (2, 70, 70), (64, 66, 66), (2, 64, 64)]
    lost = truncation(spans, 64)
    assert (lost.lost, lost.cut, lost.needed_length) == (1, 1, 70)
    assert lost.line() == (
        "1 of 4 samples have no token to learn from within 64 and 1 more lose a part of what is "
        "learnt; training.max_length=70 keeps 99% whole"
    )
    only = truncation(spans[:2], 64).line(of=5000)
    assert only == (
        "1 of 2 samples looked at, of 5,000 in all, lose a part of what is learnt beyond 64 "
        "tokens; training.max_length=70 keeps 99% whole"
    )
    assert truncation(spans, None).line() is None
    assert truncation([(0, 5, 100)] * 99 + [(0, 100, 100)], 4).needed_length == 5


def test_what_columns_fill_in_as_null_reaches_no_template(tmp_path: Path, tokenizer: Any) -> None:
    import pyarrow
    import pyarrow.parquet

    tokenizer.chat_template = (
        "{{ tools | tojson }}{% for m in messages %}[{{ m.role }}]{{ m.content or '' }}"
        "{{ m.tool_calls | tojson if m.tool_calls else '' }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    rows = [
        {
            "messages": [
                ASK,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"name": name, "arguments": {key: 1}}}],
                },
            ],
            "tools": [{"name": name, "parameters": {"properties": {key: {"type": "integer"}}}}],
        }
        for name, key in (("look", "box"), ("open", "door"))
    ]
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    for number, row in enumerate(tokenized(path, tokenizer).train):
        text = tokenizer.decode(row["input_ids"])
        assert "null" not in text and ("door" in text) == bool(number)
        name, key = (("look", "box"), ("open", "door"))[number]
        assert f'"name": "{name}", "arguments": {{"{key}": 1}}' in learnt(tokenizer, row)
