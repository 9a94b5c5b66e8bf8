"""The loss falls on the assistant's words, in the text that the model's own template writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.train.template import (
    has_generation_tags,
    llama3_variant,
    loss_mask,
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
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
"""Writes what Llama 3.1's and 3.3's templates write: a system turn in any case, with a date."""

TALKS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Say red."}, {"role": "assistant", "content": "red"}],
    [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": "Say blue."},
        {"role": "assistant", "content": "blue"},
        {"role": "user", "content": "And green?"},
        {"role": "assistant", "content": " green "},
    ],
]


@pytest.fixture
def tokenizer(tiny: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny)


def learnt(tokenizer: Any, talk: list[dict[str, Any]], template: str | None) -> list[str]:
    """Return the stretches of text that the loss counts."""
    ids = tokenizer.apply_chat_template(talk, chat_template=template, return_dict=True)["input_ids"]
    mask = loss_mask(tokenizer, talk, template)
    assert len(ids) == len(mask)
    stretches: list[list[int]] = []
    for token, counts, before in zip(ids, mask, [0, *mask], strict=False):
        if counts and not before:
            stretches.append([])
        if counts:
            stretches[-1].append(token)
    return [tokenizer.decode(stretch) for stretch in stretches]


@pytest.mark.parametrize("own", [LLAMA3, LLAMA31], ids=["3", "3.1"])
def test_only_the_assistants_words_and_their_end_are_learnt(tokenizer: Any, own: str) -> None:
    tokenizer.chat_template = own
    template = training_template(tokenizer, TALKS)
    assert learnt(tokenizer, TALKS[0], template) == ["red<|eot_id|>"]
    assert learnt(tokenizer, TALKS[1], template) == ["blue<|eot_id|>", "green<|eot_id|>"]


@pytest.mark.parametrize("own", [LLAMA3, LLAMA31], ids=["3", "3.1"])
@pytest.mark.parametrize("talk", TALKS, ids=["plain", "system"])
@pytest.mark.parametrize("prompt", [False, True])
def test_the_text_is_the_models_own(
    tokenizer: Any, own: str, talk: list[dict[str, Any]], prompt: bool
) -> None:
    tokenizer.chat_template = own
    options = {"tokenize": False, "add_generation_prompt": prompt}
    ours = tokenizer.apply_chat_template(talk, chat_template=llama3_variant(tokenizer), **options)
    assert ours == tokenizer.apply_chat_template(talk, **options)


def test_without_marks_the_own_template_would_learn_nothing(tokenizer: Any) -> None:
    """The trap itself: an unmarked template gives an empty mask and no error."""
    tokenizer.chat_template = LLAMA31
    assert not any(loss_mask(tokenizer, TALKS[0], None))


def test_a_family_without_a_variant_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    )
    with pytest.raises(UserError, match="assistant_only_loss: false"):
        training_template(tokenizer, TALKS)


def test_marks_that_mark_nothing_are_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}"
        "{% if m['role'] == 'robot' %}{% generation %}x{% endgeneration %}{% endif %}{% endfor %}"
    )
    assert has_generation_tags(tokenizer.chat_template)
    with pytest.raises(UserError, match="leaves no token to learn from"):
        training_template(tokenizer, TALKS)


def test_a_template_that_we_would_write_otherwise_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = LLAMA3.replace("\n\n", "\n")
    with pytest.raises(UserError, match="writes another text"):
        training_template(tokenizer, TALKS)
