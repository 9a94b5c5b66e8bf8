"""The loss falls on the assistant's words, in the text that the model's own template writes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.chat.jinja import JinjaTemplate
from hpclaunch.chat.tokens import LossOptions, tokenize
from hpclaunch.recipe.tools import RowProblem
from hpclaunch.train.template import (
    has_generation_tags,
    token_source,
    training_template,
)

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
"""Writes what Llama 3's template writes."""

LLAMA31 = (
    "{{ bos_token }}{% set date = date_string | default('26 Jul 2024') %}"
    "{% set own = '' %}{% set rest = messages %}"
    "{% if messages[0]['role'] == 'system' %}"
    "{% set own = messages[0]['content'] | trim %}{% set rest = messages[1:] %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: {{ date }}\n\n{{ own }}<|eot_id|>"
    "{% for m in rest %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% else %}"
    "{{ m['content'] | trim }}{% endif %}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
"""Writes what Llama 3.1's and 3.3's templates write: a system turn in any case, with a date."""

USER: dict[str, Any] = {"role": "user", "content": "Say red."}
ANSWER: dict[str, Any] = {"role": "assistant", "content": "red"}
TALKS: list[list[dict[str, Any]]] = [
    [USER, ANSWER],
    [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": "Say blue."},
        {"role": "assistant", "content": "blue"},
        {"role": "user", "content": "And green?"},
        {"role": "assistant", "content": " green "},
    ],
]
CALL = {"type": "function", "function": {"name": "paint", "arguments": {"colour": "red"}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "paint",
        "description": "Paints a wall.",
        "parameters": {
            "type": "object",
            "properties": {"colour": {"type": "string", "description": "which"}},
            "required": ["colour"],
        },
    },
}
SPOKEN: list[dict[str, Any]] = [
    USER,
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "content": "done"},
]


@pytest.fixture
def tokenizer(tiny: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny)


def trl_template(name: str) -> str:
    """Return a family's own template, of those that TRL knows."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    return (folder / f"{name}.jinja").read_text("utf-8")


def learnt(tokenizer: Any, talk: list[dict[str, Any]], **row: Any) -> list[str]:
    """Return the stretches of text that the loss counts."""
    source = token_source(tokenizer, assistant_only=True)
    tokens = tokenize({"messages": talk, **row}, source, LossOptions(True))
    stretches: list[list[int]] = []
    before = False
    for token, counts in zip(tokens.ids, tokens.learnt, strict=True):
        if counts and not before:
            stretches.append([])
        if counts:
            stretches[-1].append(token)
        before = counts
    return [tokenizer.decode(stretch) for stretch in stretches]


@pytest.mark.parametrize("own", [LLAMA3, LLAMA31], ids=["3", "3.1"])
def test_only_the_assistants_words_and_their_end_are_learnt(tokenizer: Any, own: str) -> None:
    tokenizer.chat_template = own
    assert learnt(tokenizer, TALKS[0]) == ["red<|eot_id|>"]
    assert learnt(tokenizer, TALKS[1]) == ["blue<|eot_id|>", "green<|eot_id|>"]
    ids = tokenize(
        {"messages": TALKS[1]}, token_source(tokenizer, assistant_only=True), LossOptions(True)
    ).ids
    assert ids == tokenizer.apply_chat_template(TALKS[1])["input_ids"]


@pytest.mark.parametrize("own", [LLAMA31, "llama3", "qwen3", "llama3_1"])
def test_an_answer_of_weight_0_is_not_learnt(tokenizer: Any, own: str) -> None:
    tokenizer.chat_template = own if "{" in own else trl_template(own)
    talk = [USER, {**ANSWER, "weight": 0}, USER, {"role": "assistant", "content": "blue"}]
    (only,) = learnt(tokenizer, talk)
    assert "blue" in only and "red" not in only


def test_a_tool_call_is_learnt_and_what_the_tool_says_is_not(tokenizer: Any) -> None:
    for own in ("llama3_1", "llama3_2", "qwen3", "qwen3_5_think", "qwen2_5"):
        tokenizer.chat_template = trl_template(own)
        first, second = learnt(
            tokenizer, [*SPOKEN, {"role": "assistant", "content": "It is red."}], tools=[TOOL]
        )
        assert "paint" in first and "Paints" not in first + second
        assert "It is red." in second and "done" not in first + second


MULTI = [USER, ANSWER, {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]


@pytest.mark.parametrize(
    "family",
    ["qwen3", "qwen3_5_think", "qwen3_5_nothink", "qwen2_5", "gemma", "gemma3", "llama3"],
)
def test_a_familys_training_template_is_taken_where_trl_has_one(
    tokenizer: Any, family: str
) -> None:
    tokenizer.chat_template = trl_template(family)
    assert has_generation_tags(training_template(tokenizer))
    stretches = learnt(tokenizer, MULTI)
    assert ["red" in text for text in stretches] == [True, False], "multi-turn, all answers learnt"
    assert "b" in stretches[1]


@pytest.mark.parametrize("family", ["llama3_1", "llama3_2", "gemma4", "lfm2_2_5"])
def test_a_family_without_one_is_learnt_by_what_stands_before_and_after(
    tokenizer: Any, family: str
) -> None:
    tokenizer.chat_template = trl_template(family)
    assert training_template(tokenizer) is None
    first, second = learnt(tokenizer, MULTI)
    assert "red" in first and "b" in second and "Say" not in first + second


def test_a_template_that_marks_nothing_is_learnt_in_the_answers_too(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert learnt(tokenizer, TALKS[0]) == [" red\n"], "the line's end is all that ends the turn"
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}"
        "{% if m['role'] == 'robot' %}{% generation %}x{% endgeneration %}{% endif %}{% endfor %}"
    )
    assert learnt(tokenizer, TALKS[0]) == ["red"], "tags that mark nothing"


def test_a_conversation_that_the_assistant_begins(tokenizer: Any) -> None:
    tokenizer.chat_template = LLAMA31
    assert learnt(tokenizer, [ANSWER, *TALKS[0]]) == ["red<|eot_id|>", "red<|eot_id|>"]
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}"
    with pytest.raises(RowProblem, match="begins with the assistant"):
        learnt(tokenizer, [ANSWER, *TALKS[0]])


def test_reasoning_that_a_template_leaves_out_is_named(tokenizer: Any) -> None:
    talk = [USER, {**ANSWER, "reasoning_content": "A warm colour."}]
    tokenizer.chat_template = LLAMA31
    with pytest.raises(RowProblem, match="leaves out the reasoning of message 2"):
        learnt(tokenizer, talk)
    tokenizer.chat_template = trl_template("qwen3")
    (only,) = learnt(tokenizer, talk)
    assert "A warm colour." in only


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = LLAMA3.replace(
        "m['content'] | trim", "(m['content'] if loop.last else m['content'][:2])"
    )
    with pytest.raises(RowProblem, match="assistant_only_loss: false"):
        learnt(tokenizer, MULTI)


@pytest.mark.parametrize(
    ("family", "turns", "said"),
    [
        ("gemma", TALKS[1], "System role not supported; put the system text into the first turn"),
        ("gemma", [USER, {**ANSWER, "thinking": "Hm."}, *TALKS[0]], "the reasoning of message 2"),
        ("qwen3_8", [USER, {**ANSWER, "content": "<think>Hm.</think>red"}], "an empty one; put"),
        ("gemma", [USER, USER, ANSWER], "must alternate .*; begin with the user, and join"),
        ("gemma", [*SPOKEN, ANSWER], "take a model whose template knows tools"),
        ("llama3", [*SPOKEN, ANSWER], "leaves out the tool call of message 2"),
        ("phi3", [USER, ANSWER, {"role": "tool", "content": "x"}, ANSWER], "leaves out message 3"),
    ],
)
def test_what_a_template_refuses_or_leaves_out_is_named(
    tokenizer: Any, family: str, turns: list[dict[str, Any]], said: str
) -> None:
    tokenizer.chat_template = trl_template(family)
    with pytest.raises(RowProblem, match=said):
        learnt(tokenizer, turns)


def test_tools_that_a_template_leaves_out_are_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = trl_template("gemma")
    with pytest.raises(RowProblem, match="leaves out the column 'tools'"):
        learnt(tokenizer, TALKS[0], tools=[TOOL])


def test_arguments_are_written_as_text_for_templates_that_take_no_mapping(tokenizer: Any) -> None:
    tokenizer.chat_template = trl_template("deepseekv3")
    source = token_source(tokenizer, assistant_only=False)
    tokens = tokenize({"messages": [*SPOKEN, ANSWER]}, source, LossOptions())
    assert '{"colour": "red"}' in tokenizer.decode(tokens.ids)


def families() -> list[str]:
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    return sorted(file.stem for file in folder.glob("*.jinja"))


@pytest.mark.parametrize("family", families())
def test_a_template_is_rendered_as_transformers_does(tokenizer: Any, family: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    template = trl_template(family)
    thought = [{**turn, "reasoning": "Hm."} if turn is ANSWER else turn for turn in MULTI]
    for turns in (*TALKS, MULTI, thought, [*SPOKEN, ANSWER]):
        for prompt in (False, True):
            outcomes = []
            special = tokenizer.special_tokens_map
            for mine in (True, False):
                try:
                    if mine:
                        outcome: Any = JinjaTemplate(template, special)(turns, [TOOL], {}, prompt)
                    else:
                        texts, spans = render_jinja_template(
                            conversations=[turns],
                            tools=[TOOL],
                            chat_template=template,
                            return_assistant_tokens_mask=True,
                            add_generation_prompt=prompt,
                            **special,
                        )
                        outcome = (texts[0], spans[0])
                except Exception as error:
                    outcome = type(error).__name__
                outcomes.append(json.dumps(outcome))
            assert outcomes[0] == outcomes[1]


def test_a_text_that_begins_with_bos_gets_no_second_one(tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    begin = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.bos_token_id)]
    )
    source = token_source(tokenizer, assistant_only=False)
    bos, text = tokenizer.bos_token_id, f"{tokenizer.bos_token}red"
    assert tokenizer(text)["input_ids"][:2] == [bos, bos], "what Transformers makes of it"
    for row in (
        {"text": text},
        {"text": "red"},
        {"prompt": text, "completion": " and blue"},
        {"prompt": "red", "completion": " and blue"},
    ):
        tokens = tokenize(row, source, LossOptions())
        assert tokens.ids.count(bos) == 1 and tokens.ids[0] == bos
        assert tokens.ids[-1] == tokenizer.eos_token_id
    whole = tokenize({"prompt": text, "completion": " and blue"}, source, LossOptions())
    words = [token for token, counts in zip(whole.ids, whole.learnt, strict=True) if counts]
    assert tokenizer.decode(words) == f" and blue{tokenizer.eos_token}"


def test_pairs_of_messages_are_learnt_in_the_completion(tokenizer: Any) -> None:
    source = token_source(tokenizer, assistant_only=False)
    tokens = tokenize({"prompt": [USER], "completion": [ANSWER]}, source, LossOptions())
    words = [token for token, counts in zip(tokens.ids, tokens.learnt, strict=True) if counts]
    assert tokenizer.decode(words) == "red<|eot_id|>"
    row = {"prompt": [USER], "completion": [ANSWER]}
    whole = tokenize(row, source, LossOptions(completion_only_loss=False))
    assert all(whole.learnt) and whole.ids == tokens.ids
