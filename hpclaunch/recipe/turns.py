"""Messages of a conversation as chat templates take them, whatever their row calls things."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hpclaunch.recipe.tools import RowProblem, call_of, calls_of, without_nulls

ROLES = {"system", "user", "assistant", "tool"}

ROLE_NAMES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "developer": "system",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
"""What ShareGPT, OpenAI, Gemma and Llama call the four roles."""

PLAIN = {"role", "content"}
"""Keys of most messages, which need no look at any other."""

CALLS = {"function_call", "tool_call"}
"""Roles whose text is a call, as JSON."""

NO_CALL = "is a call, and no JSON with name and arguments"

WEIGHTS = ("weight", "train", "loss", "training", "trainable", "train_on_turn")
"""What a message says of whether it is learnt: OpenAI's key, and those of other trainers."""

MASKS = ("mask", "masked", "loss_mask", "loss_weight", "ignore", "train_detail", "training_detail")
"""Keys that say something of it, too, in one way here and in another there."""


def turns_of(messages: Any, column: str, *, columnar: bool = False) -> list[dict[str, Any]]:
    """Return a conversation as messages with `role`, `content` and what else templates read.

    `weight: 0` stays where a message of the assistant is not learnt, and nowhere else. `columnar`:
    the rows were kept in columns, where a key that one row lacks stands as null.
    Raises RowProblem.
    """
    if isinstance(messages, str):  # as tables hold them
        messages = _json(messages, f"'{column}' must be a list of messages with role and content")
    if not isinstance(messages, list | tuple) or not messages:
        raise RowProblem(f"'{column}' must be a list of messages with role and content")
    turns = []
    for number, message in enumerate(messages, 1):
        try:
            turns.append(_plain(message) or _turn(message, columnar))
        except RowProblem as problem:
            raise RowProblem(f"'{column}': message {number} {problem}") from None
    return turns


def with_system(turns: list[dict[str, Any]], system: Any) -> list[dict[str, Any]]:
    """Return the conversation with the text of a column `system` as its first turn.

    Raises RowProblem where it has another one already.
    """
    if system is None or (isinstance(system, str) and not system.strip()):
        return turns
    if not isinstance(system, str):
        raise RowProblem("'system' is no text")
    if turns and turns[0]["role"] == "system":
        if str(turns[0].get("content", "")).strip() == system.strip():
            return turns
        raise RowProblem("has a column 'system' and another system turn: keep one of them")
    return [{"role": "system", "content": system}, *turns]


def history_of(pairs: Any) -> list[dict[str, Any]]:
    """Return Alpaca's `history`, pairs of question and answer, as turns. Raises RowProblem."""
    turns = []
    if isinstance(pairs, str):
        pairs = _json(pairs, "'history' cannot be read as JSON") if pairs.strip() else []
    if not isinstance(pairs or [], list | tuple):
        raise RowProblem("'history' must be a list of pairs: a question and its answer")
    for pair in pairs or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(map(is_text, pair)):
            raise RowProblem("'history' must be a list of pairs: a question and its answer")
        turns.append({"role": "user", "content": pair[0]})
        turns.append({"role": "assistant", "content": pair[1]})
    return turns


def check_answered(turns: Iterable[Mapping[str, Any]], column: str) -> None:
    """Raise RowProblem where nothing of a conversation is an answer that is learnt."""
    answers = [turn for turn in turns if turn["role"] == "assistant"]
    if not answers:
        raise RowProblem(f"'{column}' has no answer of the assistant")
    learnt = [turn for turn in answers if turn.get("weight") != 0]
    if not learnt:
        raise RowProblem(f"'{column}' has no answer to learn: all have weight 0")
    for turn in learnt:
        if not is_text(turn.get("content")) and not turn.get("tool_calls"):
            raise RowProblem(f"'{column}' has an empty answer of the assistant")


def is_text(value: Any) -> bool:
    """Return whether a value is a text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def _plain(message: Any) -> dict[str, Any] | None:
    """Return a message that is as templates take it already: most are. None for any other."""
    if not isinstance(message, dict) or message.keys() != PLAIN:
        return None
    plain = isinstance(message["content"], str) and isinstance(message["role"], str)
    return dict(message) if plain and message["role"] in ROLES else None


def _turn(message: Any, columnar: bool) -> dict[str, Any]:
    """Return one message in the form that templates take. Raises RowProblem."""
    if not isinstance(message, Mapping):
        raise RowProblem("must have role and content")
    fields = {key: value for key, value in message.items() if value is not None}
    named = fields.pop("from", None)
    named = fields.pop("role", named)
    value = fields.pop("value", None)
    content = fields.pop("content", value)
    weight = _weight(fields)
    role = ROLE_NAMES.get(named.lower(), named.lower()) if isinstance(named, str) else named
    if not isinstance(role, str) or role not in ROLES:
        known = ", ".join(sorted(ROLES))
        raise RowProblem(f"has the role {named!r}, not one of {known}")
    turn: dict[str, Any] = {"role": role}
    calls = calls_of(fields.pop("tool_calls", None), columnar)
    old = fields.pop("function_call", None)  # OpenAI's before tool_calls
    if old:
        calls.append(call_of(old, columnar))
    if str(named).lower() in CALLS and not calls:
        calls, content = calls_of(_json(content, NO_CALL), columnar), None
        if not calls:
            raise RowProblem("is a call, and names no function")
    if calls and role != "assistant":
        raise RowProblem(f"of the role {role} has tool_calls")
    if content is not None:
        turn["content"] = _text(content, role)
    elif not calls:
        raise RowProblem("has no text as content")
    if calls:
        turn["tool_calls"] = calls
    if weight is not None and role != "assistant" and weight:
        raise RowProblem(f"of the role {role} has weight 1, and only the assistant's are learnt")
    if weight == 0 and role == "assistant":
        turn["weight"] = 0
    rest = without_nulls(fields) if columnar else fields
    return {**rest, **turn}


def _weight(fields: dict[str, Any]) -> int | None:
    """Take a message's weight out of its fields: 0, 1, or None where it has none."""
    weight = None
    for key in MASKS:
        if key in fields:
            raise RowProblem(
                f"has a key '{key}', which trainers read in different ways; write weight 0 for "
                "an answer that is not learnt, and take the key out"
            )
    for key in WEIGHTS:
        value = fields.pop(key, None)
        if value is None:
            continue
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise RowProblem(f"has the {key} {value!r}: only 0 and 1 can be")
        if weight is not None and weight != int(value):
            raise RowProblem(f"has a {key} that says otherwise than its weight")
        weight = int(value)
    return weight


def _text(content: Any, role: str) -> str:
    """Return a message's content as one text. Raises RowProblem."""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple) and role != "tool":
        return "".join(map(_part, content))
    if role == "tool":  # what a tool gave back may be any value
        if isinstance(content, list) and content and all(map(_is_part, content)):
            return "".join(map(_part, content))
        return json.dumps(content, ensure_ascii=False)
    raise RowProblem("has no text as content")


def _is_part(part: Any) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("type"), str)


def _part(part: Any) -> str:
    """Return the text of one part of a content that is a list. Raises RowProblem."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise RowProblem("has no text as content")
    kind = part.get("type") or "text"
    text = part.get("text")
    if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
        raise RowProblem(f"holds a part of the type {kind!r}: only text is trained on")
    return text


def _json(text: Any, problem: str) -> Any:
    """Return what a text holds as JSON; anything else as it is. Raises RowProblem."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RowProblem(problem) from None
