"""Rows that say which answers are better: pairs of answers, and answers with a label."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from hpclaunch.recipe.pairs import check_plain, pair_of
from hpclaunch.recipe.tools import RowProblem
from hpclaunch.recipe.turns import check_answered, is_text, turns_of, with_system

Turns = list[dict[str, Any]]

ANSWERS = ("chosen", "rejected")

QUESTIONS = ("question", "instruction", "query", "input", "context", "conversations", "messages")
"""Columns that may hold the prompt of a pair which has no column `prompt`."""

VERDICTS = {"true": True, "1": True, "false": False, "0": False}
"""What a label may be as a text, as CSV has it."""


def preference_of(row: Mapping[str, Any], wanted: str, *, columnar: bool) -> dict[str, Any]:
    """Return prompt, chosen and rejected: all texts, or all lists of messages. Raises RowProblem.

    Without a column `prompt` it is what both answers begin with. `margin` stays where it is.
    """
    row = {**row, **{name: _from_table(row.get(name)) for name in ANSWERS}}
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise RowProblem("'chosen' and 'rejected' must both be texts, or both lists of messages")
    if "prompt" not in row:
        _check_no_question(row, wanted)
    if isinstance(chosen, str) and not isinstance(row.get("prompt", ""), list | tuple):
        pair = _of_texts(row, wanted)
    else:
        pair = _of_turns(row, columnar)
    return {**pair, **_margin(row)}


def unpaired_of(row: Mapping[str, Any], wanted: str, *, columnar: bool) -> dict[str, Any]:
    """Return prompt, completion and whether it is good. Raises RowProblem."""
    label = row.get("label")
    good = VERDICTS.get(str(label).strip().lower()) if label is not None else None
    if isinstance(label, float) and label in (0.0, 1.0):  # a column with gaps holds floats
        good = bool(label)
    if good is None:
        raise RowProblem(f"'label' must be true (a good answer) or false, not {label!r:.40}")
    return {**pair_of(row, wanted, columnar=columnar), "label": good}


def _margin(row: Mapping[str, Any]) -> dict[str, float]:
    """Return by how much the chosen answer is better, where the data says so; 0: not said."""
    if "margin" not in row:
        return {}
    margin = 0.0 if row["margin"] is None else row["margin"]
    if isinstance(margin, str):  # as CSV has it
        try:
            margin = float(margin or 0)
        except ValueError:
            margin = math.nan
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin):
        raise RowProblem(f"'margin' must be a number, not {row['margin']!r:.40}")
    return {"margin": float(margin)}


def _check_no_question(row: Mapping[str, Any], wanted: str) -> None:
    """Raise RowProblem where a column may hold the prompt that the answers lack."""
    for name in QUESTIONS:
        if row.get(name) and wanted == "auto":
            raise RowProblem(
                f"has no 'prompt' and a column '{name}' beside chosen and rejected; rename it to "
                "prompt, or set data.format: preference to train without it"
            )


def _of_texts(row: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    check_plain(row, "prompt, chosen and rejected", "preference", wanted)
    chosen, rejected = row["chosen"], row["rejected"]
    for name in ANSWERS:
        if not is_text(row[name]):
            raise RowProblem(f"'{name}' is empty or no text")
    if "prompt" in row:
        if not is_text(row["prompt"]):
            raise RowProblem("'prompt' is empty or no text")
        return {"prompt": row["prompt"], "chosen": chosen, "rejected": rejected}
    if chosen == rejected:
        raise RowProblem("'chosen' and 'rejected' are the same, and there is no 'prompt'")
    prompt = _common_words(chosen, rejected)
    if not prompt:
        raise RowProblem(
            "'chosen' and 'rejected' begin with nothing in common, which would be the prompt; add "
            "a column prompt"
        )
    answers = chosen[len(prompt) :], rejected[len(prompt) :]
    if not all(map(is_text, answers)):
        raise RowProblem("'chosen' or 'rejected' has nothing behind what both begin with")
    return {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}


def _common_words(first: str, second: str) -> str:
    """Return what two texts begin with alike, without a word that differs further on.

    The white space before the first word that differs belongs to the answers, as their tokens do.
    """
    pairs = zip(first, second, strict=False)
    end = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
    while end and not first[end - 1].isspace():
        end -= 1
    return first[:end].rstrip()


def _of_turns(row: Mapping[str, Any], columnar: bool) -> dict[str, Any]:
    chosen, rejected = (_turns(row[name], name, columnar) for name in ANSWERS)
    prompt = row.get("prompt")
    same = _common_turns(chosen, rejected)
    whole = chosen[0]["role"] != "assistant"
    if prompt is None:
        if not same:
            raise RowProblem(
                "'chosen' and 'rejected' begin with no message in common, which would be the "
                "prompt; add a column prompt"
            )
        before = chosen[:same]
    elif whole or rejected[0]["role"] != "assistant":
        before = chosen[:same]
        if not same or _last_question(before) != _words(prompt, columnar):
            raise RowProblem("'chosen' and 'rejected' are conversations with another prompt")
    else:
        same = 0
        before = _question(prompt, columnar)
    answers = {"chosen": chosen[same:], "rejected": rejected[same:]}
    for name, turns in answers.items():
        if not turns or turns[0]["role"] != "assistant":
            raise RowProblem(f"'{name}' has no answer of the assistant behind the prompt")
        if turns[-1]["role"] != "assistant":
            raise RowProblem(
                f"'{name}' ends with a turn of the role {turns[-1]['role']}, which would count as "
                "an answer; take that turn out"
            )
        if any("weight" in turn for turn in turns):
            raise RowProblem(f"'{name}' has messages of weight 0, and answers are compared whole")
        check_answered(turns, name)
    for turn in before:
        turn.pop("weight", None)  # no prompt is learnt
    return {"prompt": with_system(before, row.get("system")), **answers}


def _turns(value: Any, name: str, columnar: bool) -> Turns:
    """Return an answer or a conversation as turns. Raises RowProblem."""
    if isinstance(value, Mapping):  # one message
        value = [value]
    elif isinstance(value, str):
        if not is_text(value):
            raise RowProblem(f"'{name}' is empty or no text")
        return [{"role": "assistant", "content": value}]
    return turns_of(value, name, columnar=columnar)


def _from_table(value: Any) -> Any:
    """Return the messages that a text holds as JSON, as tables have them; else the value itself."""
    if not isinstance(value, str) or not value.lstrip().startswith("[{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _question(prompt: Any, columnar: bool) -> Turns:
    """Return a prompt as turns: a text is what the user says. Raises RowProblem."""
    if isinstance(prompt, str):
        if not is_text(prompt):
            raise RowProblem("'prompt' is empty or no text")
        return [{"role": "user", "content": prompt}]
    return turns_of(prompt, "prompt", columnar=columnar)


def _common_turns(first: Turns, second: Turns) -> int:
    """Return how many turns two conversations begin with alike; of two equal ones all but one."""
    pairs = zip(first, second, strict=False)
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
    return min(same, len(first) - 1, len(second) - 1)


def _last_question(turns: Turns) -> str:
    """Return what the user said last."""
    questions = [str(turn.get("content", "")) for turn in turns if turn["role"] == "user"]
    return questions[-1].strip() if questions else ""


def _words(prompt: Any, columnar: bool) -> str:
    """Return what a prompt's user says last."""
    return _last_question(_question(prompt, columnar))
