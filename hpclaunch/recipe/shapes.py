"""Shapes of data rows: which one a dataset has, what is wrong with a row, what training takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import DEFAULT_OBJECTIVE, Objective

Shape = Literal["messages", "conversations", "prompt_completion", "text", "alpaca"]

COLUMNS: dict[Shape, tuple[str, ...]] = {
    "messages": ("messages",),
    "conversations": ("conversations",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "text": ("text",),
}
"""The columns each shape must have; alpaca may have `input` too."""

SHAPES: dict[Objective, tuple[Shape, ...]] = {
    "sft": ("messages", "conversations", "prompt_completion", "alpaca", "text"),
}
"""The shapes that an objective's data may have, in the order in which they are detected."""

ROLES = {"system", "user", "assistant", "tool"}
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
KEPT = ("tools", "chat_template_kwargs")
"""Columns that chat templates use beside the conversation itself."""


def detect(
    columns: list[str], wanted: str, source: str, objective: Objective = DEFAULT_OBJECTIVE
) -> Shape:
    """Return the shape of a dataset with these columns. Raises UserError where none fits.

    `wanted`: the recipe's `data.format`; `source`: the file or dataset, for the error.
    """
    have = set(columns)
    candidates = [shape for shape in SHAPES[objective] if wanted in ("auto", shape)]
    if wanted == "messages":
        candidates.append("conversations")
    for shape in candidates:
        if have.issuperset(COLUMNS[shape]):
            return shape
    known = " | ".join("+".join(COLUMNS[shape]) for shape in candidates)
    raise UserError(
        f"{source} has the columns {', '.join(sorted(have)) or '(none)'}; "
        f"data.format {wanted} needs {known}",
        "rename the columns, or set data.format to the shape they have",
    )


def row_problem(row: Mapping[str, Any], shape: Shape) -> str | None:
    """Return what is wrong with a row, None if nothing is."""
    if shape == "text":
        return None if _is_text(row.get("text")) else "'text' is empty or no text"
    if shape == "alpaca":
        missing = [k for k in COLUMNS["alpaca"] if not _is_text(row.get(k))]
        return f"'{missing[0]}' is empty or no text" if missing else None
    if shape == "prompt_completion":
        return _pair_problem(row)
    return _turns_problem(row.get(shape), shape, must_answer=True)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _pair_problem(row: Mapping[str, Any]) -> str | None:
    prompt, completion = row.get("prompt"), row.get("completion")
    if isinstance(prompt, str) != isinstance(completion, str):
        return "'prompt' and 'completion' must both be texts, or both lists of messages"
    if isinstance(prompt, str):
        return None if _is_text(completion) else "'completion' is empty"
    return _turns_problem(prompt, "prompt", must_answer=False) or _turns_problem(
        completion, "completion", must_answer=True
    )


def _turns_problem(turns: Any, column: str, *, must_answer: bool) -> str | None:
    """Check a conversation; the assistant must say something where `must_answer`."""
    if not isinstance(turns, list) or not turns:
        return f"'{column}' must be a list of messages with role and content"
    answered = False
    for number, turn in enumerate(turns, 1):
        role, content = _turn(turn)
        if role not in ROLES:
            return f"'{column}': message {number} has the role {role!r}, not one of {_listed()}"
        if not isinstance(content, str) and not (isinstance(turn, dict) and turn.get("tool_calls")):
            return f"'{column}': message {number} has no text as content"
        answered |= role == "assistant" and _is_text(content)
    return f"'{column}' has no answer of the assistant" if must_answer and not answered else None


def _listed() -> str:
    return ", ".join(sorted(ROLES))


def _turn(turn: Any) -> tuple[Any, Any]:
    """Return role and content of a message, of ShareGPT's from/value too."""
    if not isinstance(turn, dict):
        return None, None
    role = turn.get("role", turn.get("from"))
    return SHAREGPT_ROLES.get(role, role) if isinstance(role, str) else role, turn.get(
        "content", turn.get("value")
    )


def convert(row: Mapping[str, Any], shape: Shape, *, chat: bool) -> dict[str, Any]:
    """Return the row as the trainer takes it: messages, prompt and completion, or text.

    `chat`: the tokenizer has a chat template; without one, alpaca rows become plain text.
    """
    if shape == "alpaca":
        question = row["instruction"].strip()
        if _is_text(row.get("input")):
            question += "\n\n" + row["input"].strip()
        if not chat:
            return {"prompt": question + "\n\n", "completion": row["output"]}
        return {
            "prompt": [{"role": "user", "content": question}],
            "completion": [{"role": "assistant", "content": row["output"]}],
        }
    if shape == "conversations":
        pairs = [_turn(turn) for turn in row["conversations"]]
        return {"messages": [{"role": role, "content": content} for role, content in pairs]}
    return {column: row[column] for column in COLUMNS[shape]}
