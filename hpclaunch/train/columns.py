"""What a row becomes for each objective's trainer: its columns of tokens, and what counts of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpclaunch.chat.preference import tokenize_answers
from hpclaunch.chat.tokens import LossOptions, Tokenizer, tokenize, tokenize_prompt

IGNORED = -100
"""Label of a token that the loss does not count."""
SPANS = ("first_learnt", "end_of_learnt", "length")
"""Columns that say where in a row something is learnt, and how many tokens it has."""

Columns = dict[str, Any]
"""A row as a trainer takes it, with SPANS."""


def labelled(row: Mapping[str, Any], tokenizer: Tokenizer, options: LossOptions) -> Columns:
    """Return the tokens of a text or of an answer, with labels of what is learnt of it."""
    result = tokenize(row, tokenizer, options)
    pairs = zip(result.ids, result.learnt, strict=True)
    return {
        "input_ids": result.ids,
        "labels": [token if learnt else IGNORED for token, learnt in pairs],
        **_spans((*result.bounds, len(result.ids))),
    }


def compared(row: Mapping[str, Any], tokenizer: Tokenizer, options: LossOptions) -> Columns:
    """Return the tokens of two answers, and of the prompt that they share."""
    tokens = tokenize_answers(row, tokenizer)
    chosen, rejected = tokens.answers
    return {
        "prompt_ids": tokens.prompt,
        "chosen_ids": chosen,
        "rejected_ids": rejected,
        **_spans(tokens.span()),
    }


def with_label(row: Mapping[str, Any], tokenizer: Tokenizer, options: LossOptions) -> Columns:
    """Return the tokens of a prompt and its answer, and whether the answer is good."""
    tokens = tokenize_answers(row, tokenizer)
    return {
        "prompt_ids": tokens.prompt,
        "completion_ids": tokens.answers[0],
        "label": row["label"],
        **_spans(tokens.span()),
    }


def scored(row: Mapping[str, Any], tokenizer: Tokenizer, options: LossOptions) -> Columns:
    """Return the tokens of two answers, each behind the prompt."""
    tokens = tokenize_answers(row, tokenizer)
    chosen, rejected = (tokens.prompt + answer for answer in tokens.answers)
    margin = {"margin": row["margin"]} if "margin" in row else {}
    return {
        "chosen_ids": chosen,
        "rejected_ids": rejected,
        **margin,
        **_spans(tokens.span(whole=True)),
    }


def prompt(row: Mapping[str, Any], tokenizer: Tokenizer, options: LossOptions) -> Columns:
    """Return the tokens of a prompt."""
    ids = tokenize_prompt(row, tokenizer, options.chat_template_kwargs)
    return {"prompt_ids": ids, **_spans((len(ids) - 1, len(ids), len(ids)))}


def _spans(span: tuple[int, int, int]) -> Columns:
    return dict(zip(SPANS, span, strict=True))


TOKENS = ("input_ids", "prompt_ids", "chosen_ids", "rejected_ids", "completion_ids")
"""Columns of tokens that are trained on."""


def count_tokens(rows: Any) -> int:
    """Return the tokens of all rows; a prompt counts once for each of its answers."""
    total = 0
    for name in set(TOKENS).intersection(rows.column_names):
        both = name == "prompt_ids" and "rejected_ids" in rows.column_names
        total += (2 if both else 1) * sum(map(len, rows[name]))
    return total
