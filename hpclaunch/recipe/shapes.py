"""Shapes of data rows: which one a dataset has, what is wrong with a row, what training takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from hpclaunch.errors import UserError
from hpclaunch.recipe.preference import (
    FIXES,
    PREFERENCE,
    TRAINERS,
    is_verdict,
    other_objective,
)
from hpclaunch.recipe.schema import DEFAULT_OBJECTIVE, Objective
from hpclaunch.recipe.tools import RowProblem, tools_of
from hpclaunch.recipe.turns import check_answered, history_of, is_text, turns_of, with_system

Shape = Literal["messages", "conversations", "prompt_completion", "text", "alpaca"]

COLUMNS: dict[Shape, tuple[str, ...]] = {
    "messages": ("messages",),
    "conversations": ("conversations",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "text": ("text",),
}
"""The columns each shape must have."""

SHAPES: dict[Objective, tuple[Shape, ...]] = {
    "sft": ("messages", "conversations", "prompt_completion", "alpaca", "text"),
}
"""The shapes that an objective's data may have, in the order in which they are detected."""

OPTIONAL: dict[Shape, tuple[str, ...]] = {
    "messages": ("system", "tools", "chat_template_kwargs"),
    "conversations": ("system", "tools", "chat_template_kwargs"),
    "prompt_completion": ("system", "tools", "chat_template_kwargs"),
    "alpaca": ("input", "system", "history", "tools", "chat_template_kwargs"),
    "text": (),
}
"""The columns that a shape's rows may have beside those. Of `prompt_completion` they need pairs of
messages: a plain text has no place for them."""

KEPT = ("tools", "chat_template_kwargs")
"""Columns that chat templates use beside the conversation itself."""

MEDIA = ("image", "images", "video", "videos", "audio", "audios")
"""Columns of what is no text."""

BEARING = ("system", "history", "tools", "chat_template_kwargs", *PREFERENCE, *MEDIA)
"""Columns that change what is learnt: a shape that cannot use one of them refuses the row."""

BEARING_NAMES = frozenset(BEARING)


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
    listed = ", ".join(sorted(have)) or "(none)"
    if "input_ids" in have:
        raise UserError(
            f"{source} has the columns {listed}: rows that are tokenized already",
            "take the rows they were made of: every run tokenizes with its model's tokenizer",
        )
    other = other_objective(have)
    if other is not None:
        rows, trainer, fix = other
        raise UserError(
            f"{source} has the columns {listed}: {rows}, which {trainer} takes and objective "
            f"{objective} does not",
            fix,
        )
    known = " | ".join("+".join(COLUMNS[shape]) for shape in candidates)
    raise UserError(
        f"{source} has the columns {listed}; data.format {wanted} needs {known}",
        "rename the columns, or set data.format to the shape they have",
    )


def left_out(columns: Sequence[str], shape: Shape) -> list[str]:
    """Return the columns that training does not use, in their order."""
    used = {*COLUMNS[shape], *OPTIONAL[shape]}
    return [name for name in columns if name not in used]


def row_problem(
    row: Mapping[str, Any],
    shape: Shape,
    wanted: str = "auto",
    *,
    chat: bool = True,
    columnar: bool = False,
) -> str | None:
    """Return what is wrong with a row, None if nothing is. The options are those of `convert`."""
    try:
        convert(row, shape, chat=chat, wanted=wanted, columnar=columnar)
    except RowProblem as problem:
        return str(problem)
    return None


def convert(
    row: Mapping[str, Any],
    shape: Shape,
    *,
    chat: bool,
    wanted: str = "auto",
    columnar: bool = False,
) -> dict[str, Any]:
    """Return the row as training takes it: messages, prompt and completion, or text.

    Beside these it has `tools` and `chat_template_kwargs` where the row has some. `chat`: the
    tokenizer has a chat template; without one, alpaca rows become plain text. `wanted`: the
    recipe's `data.format`; naming one says that columns which it cannot use are left out.
    `columnar`: see `turns_of`. Raises RowProblem.
    """
    _check_bearing(row, shape, wanted)
    if shape == "text":
        if not is_text(row.get("text")):
            raise RowProblem("'text' is empty or no text")
        return {"text": row["text"]}
    if shape == "prompt_completion":
        converted = _pair(row, wanted, columnar)
    elif shape == "alpaca":
        converted = _alpaca(row, chat)
    else:
        turns = turns_of(row.get(shape), shape, columnar=columnar)
        check_answered(turns, shape)
        converted = {"messages": with_system(turns, row.get("system"))}
    if "messages" not in converted and isinstance(converted["prompt"], str):
        return converted
    tools = tools_of(row.get("tools"), columnar=columnar)
    options = row.get("chat_template_kwargs")
    if options and not isinstance(options, Mapping):
        raise RowProblem("'chat_template_kwargs' is no mapping")
    return {
        **converted,
        **({"tools": tools} if tools else {}),
        **({"chat_template_kwargs": dict(options)} if options else {}),
    }


def _check_bearing(row: Mapping[str, Any], shape: Shape, wanted: str) -> None:
    """Refuse a row that holds something which bears on training and has no place in its shape."""
    for name in sorted(BEARING_NAMES.intersection(row), key=BEARING.index):
        value = row[name]
        if name in OPTIONAL[shape] or value is None or value == "" or value in ([], {}):
            continue
        if name in PREFERENCE and shape != "text":
            if wanted != "auto" and not (TRAINERS[name] == "KTO" and is_verdict(value)):
                continue
            raise RowProblem(
                f"has a column '{name}': {PREFERENCE[name]}, which {TRAINERS[name]} takes and "
                f"objective sft does not; {FIXES[TRAINERS[name]]}{_or_without(name, shape, value)}"
            )
        if wanted == "auto" and name not in PREFERENCE:
            raise RowProblem(
                f"has a column '{name}', which rows of {'+'.join(COLUMNS[shape])} cannot use; take "
                f"it out, or set data.format: {_format_of(shape)} to train without it"
            )


def _or_without(name: str, shape: Shape, value: Any) -> str:
    """Return how to train without such a column, where that can be."""
    if TRAINERS[name] == "KTO" and is_verdict(value):
        return ""
    return f", or set data.format: {_format_of(shape)} to train without the column"


def _format_of(shape: Shape) -> str:
    """Return the `data.format` that names a shape."""
    return "messages" if shape == "conversations" else shape


def _pair(row: Mapping[str, Any], wanted: str, columnar: bool) -> dict[str, Any]:
    """Return prompt and completion, both texts or both lists of messages."""
    prompt, completion = row.get("prompt"), row.get("completion")
    if isinstance(prompt, str) != isinstance(completion, str):
        raise RowProblem("'prompt' and 'completion' must both be texts, or both lists of messages")
    if isinstance(prompt, str):
        unused = [name for name in OPTIONAL["prompt_completion"] if row.get(name)]
        if unused and wanted == "auto":
            raise RowProblem(
                f"has a column '{unused[0]}', which plain texts cannot use; write prompt and "
                "completion as lists of messages, or set data.format: prompt_completion to train "
                "without it"
            )
        if not is_text(completion):
            raise RowProblem("'completion' is empty")
        return {"prompt": prompt, "completion": completion}
    prompt_turns = turns_of(prompt, "prompt", columnar=columnar)
    answer = turns_of(completion, "completion", columnar=columnar)
    check_answered(answer, "completion")
    if any("weight" in turn for turn in answer):
        raise RowProblem("'completion' has messages of weight 0; write the row as messages")
    for turn in prompt_turns:
        turn.pop("weight", None)  # no prompt is learnt
    return {"prompt": with_system(prompt_turns, row.get("system")), "completion": answer}


def _alpaca(row: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    """Return Alpaca's instruction and output as turns; without a chat template as plain text."""
    for name in COLUMNS["alpaca"]:
        if not is_text(row.get(name)):
            raise RowProblem(f"'{name}' is empty or no text")
    question = row["instruction"].strip()
    if is_text(row.get("input")):
        question += "\n\n" + row["input"].strip()
    if not chat:
        unused = [name for name in OPTIONAL["alpaca"] if name != "input" and row.get(name)]
        if unused:
            raise RowProblem(
                f"has a column '{unused[0]}', which needs a chat template; use an Instruct model, "
                "or name one's template by training.chat_template_path"
            )
        return {"prompt": question + "\n\n", "completion": row["output"]}
    question_turns = [{"role": "user", "content": question}]
    answer = [{"role": "assistant", "content": row["output"]}]
    if "history" in row:  # its answers are learnt as the last one is
        turns = [*history_of(row["history"]), *question_turns, *answer]
        return {"messages": with_system(turns, row.get("system"))}
    return {"prompt": with_system(question_turns, row.get("system")), "completion": answer}
