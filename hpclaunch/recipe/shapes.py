"""Shapes of data rows: which one a dataset has, what is wrong with a row, what training takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.objectives import (
    DEFAULT_OBJECTIVE,
    OBJECTIVES,
    PAIRS,
    Objective,
    Shape,
)
from hpclaunch.recipe.other_names import OTHER_NAMES, by_known_names, with_other_names
from hpclaunch.recipe.pairs import WITH_MESSAGES, alpaca_of, pair_of
from hpclaunch.recipe.preference import (
    FIXES,
    PREFERENCE,
    TRAINERS,
    is_verdict,
    other_objective,
)
from hpclaunch.recipe.preference_rows import QUESTIONS, preference_of, unpaired_of
from hpclaunch.recipe.prompt_rows import prompt_of
from hpclaunch.recipe.tools import RowProblem, tools_of
from hpclaunch.recipe.turns import check_answered, is_text, turns_of, with_system

COLUMNS: dict[Shape, tuple[str, ...]] = {
    "messages": ("messages",),
    "conversations": ("conversations",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "text": ("text",),
    "preference": ("prompt", "chosen", "rejected"),
    "implicit_preference": ("chosen", "rejected"),
    "unpaired": ("prompt", "completion", "label"),
    "prompt": ("prompt",),
}
"""The columns each shape must have."""

OPTIONAL: dict[Shape, tuple[str, ...]] = {
    "messages": WITH_MESSAGES,
    "conversations": WITH_MESSAGES,
    "prompt_completion": WITH_MESSAGES,
    "alpaca": ("input", "history", *WITH_MESSAGES),
    "text": (),
    "preference": ("margin", *WITH_MESSAGES),
    "implicit_preference": ("margin", *QUESTIONS, *WITH_MESSAGES),
    "unpaired": WITH_MESSAGES,
    "prompt": WITH_MESSAGES,
}
"""The columns that a shape's rows may have beside those. Of pairs they need messages: a plain text
has no place for them."""

KEPT = ("tools", "chat_template_kwargs")
"""Columns that chat templates use beside the conversation itself."""

MEDIA = ("image", "images", "video", "videos", "audio", "audios")
"""Columns of what is no text."""

BEARING = (
    "system", "history", "tools", "chat_template_kwargs", *OTHER_NAMES, *PREFERENCE, *MEDIA,
)  # fmt: skip
"""Columns that change what is learnt: a shape that cannot use one of them refuses the row."""

BEARING_NAMES = frozenset(BEARING)


def detect(
    columns: list[str], wanted: str, source: str, objective: Objective = DEFAULT_OBJECTIVE
) -> Shape:
    """Return the shape of a dataset with these columns. Raises UserError where none fits.

    `wanted`: the recipe's `data.format`; `source`: the file or dataset, for the error.
    """
    have = set(columns)
    shapes = OBJECTIVES[objective].shapes
    candidates = [shape for shape in shapes if wanted in ("auto", shape)]
    if wanted == "messages" and "conversations" in shapes:
        candidates.append("conversations")
    if wanted == "preference" and "implicit_preference" in shapes:
        candidates.append("implicit_preference")
    if not candidates:
        raise UserError(
            f"data.format {wanted} is no shape of rows that objective {objective} takes",
            f"set data.format: auto; it needs {_listed(shapes)}",
        )
    for shape in candidates:
        if have.issuperset(COLUMNS[shape]):
            return shape
    listed = ", ".join(sorted(have)) or "(none)"
    if "input_ids" in have:
        raise UserError(
            f"{source} has the columns {listed}: rows that are tokenized already",
            "take the rows they were made of: every run tokenizes with its model's tokenizer",
        )
    other = other_objective(have, objective)
    if other is not None:
        rows, trainer, fix = other
        raise UserError(
            f"{source} has the columns {listed}: {rows}, which {trainer} takes and objective "
            f"{objective} does not",
            fix,
        )
    needed_by = f"data.format {wanted}"
    if objective != DEFAULT_OBJECTIVE:
        needed_by = f"objective {objective}"
    raise UserError(
        f"{source} has the columns {listed}; {needed_by} needs {_listed(candidates)}",
        "rename the columns, or set data.format to the shape they have",
    )


def _listed(shapes: Sequence[Shape]) -> str:
    """Return the columns that rows of one of these shapes have, in words."""
    return " | ".join("+".join(COLUMNS[shape]) for shape in shapes)


def left_out(
    columns: Sequence[str], shape: Shape, objective: Objective = DEFAULT_OBJECTIVE
) -> list[str]:
    """Return the columns that training does not use, in their order."""
    if shape == "prompt":
        return [name for name in columns if name in MEDIA]
    used = {*COLUMNS[shape], *OPTIONAL[shape]} - set(QUESTIONS if shape in PAIRS else ())
    if not OBJECTIVES[objective].reads_margin:
        used.discard("margin")
    used = with_other_names(used)
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
    """Return the row as training takes it: messages, prompt and completion, text, or two answers.

    Of a prompt that the model answers itself it has `prompt` alone: `handed_on` names the rest.
    Answers that are compared are `chosen` and `rejected` behind a `prompt`; one with a verdict has
    a `label`. Beside these it has `tools` and `chat_template_kwargs` where the row has some.
    `chat`: the tokenizer has a chat template; without one, alpaca rows become plain text.
    `wanted`: the recipe's `data.format`; naming one says that columns which it cannot use are left
    out. `columnar`: see `turns_of`. Raises RowProblem.
    """
    row = by_known_names(row)
    _check_bearing(row, shape, wanted)
    if shape == "text":
        if not is_text(row.get("text")):
            raise RowProblem("'text' is empty or no text")
        return {"text": row["text"]}
    if shape == "prompt_completion":
        converted = pair_of(row, wanted, columnar=columnar)
    elif shape == "alpaca":
        converted = alpaca_of(row, chat=chat)
    elif shape in PAIRS:
        converted = preference_of(row, wanted, columnar=columnar)
    elif shape == "unpaired":
        converted = unpaired_of(row, wanted, columnar=columnar)
    elif shape == "prompt":
        converted = prompt_of(row, wanted, columnar=columnar)
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
        if name in (*COLUMNS[shape], *OPTIONAL[shape]):
            continue
        if shape == "prompt" and name not in (*MEDIA, "history"):
            continue  # whatever it is, the reward functions get it
        if value is None or value == "" or value in ([], {}):
            continue
        if name in PREFERENCE and shape in OBJECTIVES[DEFAULT_OBJECTIVE].shapes and shape != "text":
            if wanted != "auto" and not (TRAINERS[name] == "KTO" and is_verdict(value)):
                continue
            raise RowProblem(
                f"has a column '{name}': {PREFERENCE[name]}, which {TRAINERS[name]} takes and "
                f"objective sft does not; {FIXES[TRAINERS[name]]}{_or_without(name, shape, value)}"
            )
        if wanted == "auto" and (name not in PREFERENCE or shape != "text"):
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
    named = {"conversations": "messages", "implicit_preference": "preference"}
    return named.get(shape, shape)
