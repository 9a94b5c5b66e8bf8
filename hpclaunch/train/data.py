"""The recipe's data as datasets of checked rows, in the shape that the trainer takes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpclaunch.dataset.local import SET_SPLITS
from hpclaunch.dataset.rows import refused
from hpclaunch.dataset.sources import Source, training_source, validation_source
from hpclaunch.errors import UserError
from hpclaunch.recipe import (
    other_names,
    pairs,
    preference_rows,
    prompt_rows,
    shapes,
    tools,
    turns,
)
from hpclaunch.recipe.objectives import Shape
from hpclaunch.recipe.other_names import known_name
from hpclaunch.recipe.prompt_rows import handed_on
from hpclaunch.recipe.schema import Data, Objective
from hpclaunch.recipe.shapes import KEPT, convert, detect, left_out, row_problem
from hpclaunch.train import phases
from hpclaunch.train.cached import cache_key
from hpclaunch.train.hub import explain
from hpclaunch.train.json_columns import keep_numbers_exact
from hpclaunch.train.local_data import load_local
from hpclaunch.train.process import without_scipy

COLUMNS_OF_TEXT = ("text", "prompt", "completion", "chosen", "rejected")


@dataclass(frozen=True)
class Rows:
    """Training rows, and those to validate on where the recipe names some."""

    train: Any
    validation: Any | None
    messages: bool
    """Rows are whole conversations, rather than pairs or plain text."""
    chat: bool
    """Rows go through the chat template."""
    columns_left_out: tuple[str, ...] = ()
    """Columns of the training data that training does not use."""
    where: Callable[[int], str] = "row {}".format
    """Returns the place of a training row; the first is 0."""
    where_validation: Callable[[int], str] = "row {}".format
    """Returns the place of a row to validate on."""


def load_rows(data: Data, objective: Objective, *, chat: bool, check: bool) -> Rows:
    """Load and convert the rows of a recipe, to what the objective's trainer takes.

    `chat`: the tokenizer has a chat template. `check`: check every row (one process does, before
    the ranks start). Raises UserError naming the file and line, or the dataset and row.
    """
    keep_numbers_exact()
    with without_scipy():
        train, held_out = _training_rows(data, objective), _validation_rows(data, objective)
    if len(train.rows) == 0:
        raise UserError(f"{data.name} has no rows in split '{data.split}'", SET_SPLITS)
    shape = detect(train.rows.column_names, data.format, data.name, objective)
    for part in (train, held_out):
        if part is not None and check:
            detect(part.rows.column_names, shape, part.name, objective)
            _check(part, shape, _options(part, data, chat))
    converted = _convert(train.rows, shape, _options(train, data, chat))
    chat_rows = _has_messages(converted)
    if chat_rows and not chat:
        raise UserError(
            f"{data.name} holds conversations, and the model's tokenizer has no chat template",
            "use an Instruct model, or name one's template by training.chat_template_path",
        )
    validation = None
    if held_out is not None:
        validation = _convert(held_out.rows, shape, _options(held_out, data, chat))
    return Rows(
        train=converted,
        validation=validation,
        messages="messages" in converted.column_names,
        chat=chat_rows,
        columns_left_out=tuple(left_out(train.columns, shape, objective)),
        where=train.where,
        where_validation=train.where if held_out is None else held_out.where,
    )


@dataclass(frozen=True)
class _Part:
    """Rows as they were loaded."""

    name: str
    rows: Any
    columns: tuple[str, ...]
    columnar: bool
    """A key that a row lacks may stand as null."""
    where: Callable[[int], str]
    """Returns the place of a row; the first is 0."""


def _training_rows(data: Data, objective: Objective) -> _Part:
    source = training_source(data)
    if source is not None:
        return _local(source, data, objective)
    part = _from_hub(data.name, data, data.split)
    if data.limit is not None:
        rows = part.rows.select(range(min(data.limit, len(part.rows))))
        return dataclasses.replace(part, rows=rows)
    return part


def _validation_rows(data: Data, objective: Objective) -> _Part | None:
    source = validation_source(data)
    if source is not None:
        return _local(source, data, objective)
    if data.validation is not None:
        return _from_hub(data.validation, data, "train")
    if data.validation_split is not None:
        return _from_hub(data.name, data, data.validation_split)
    return None


def _local(source: Source, data: Data, objective: Objective) -> _Part:
    loaded = load_local(source, data.format, objective)
    return _Part(source.name, loaded.rows, loaded.columns, loaded.columnar, loaded.where)


def _from_hub(name: str, data: Data, split: str) -> _Part:
    """Load one split of a hub dataset."""
    from datasets import load_dataset

    with explain("dataset", name):
        rows = load_dataset(name, data.subset, revision=data.revision, split=split)
    return _Part(name, rows, tuple(rows.column_names), True, lambda at: f"{name}, row {at + 1}")


def _options(part: _Part, data: Data, chat: bool) -> dict[str, Any]:
    """Return how rows are converted."""
    return {"wanted": data.format, "chat": chat, "columnar": part.columnar}


def _has_messages(rows: Any) -> bool:
    """Return whether converted rows hold messages rather than text."""
    row = rows[0]
    return "messages" in row or isinstance(row.get("prompt"), list)


def _check(part: _Part, shape: Shape, options: dict[str, Any]) -> None:
    """Check every row. Raises UserError for the first bad one, with its place."""
    for number, row in enumerate(part.rows):
        if number % 1000 == 0:
            phases.count(number, len(part.rows), "rows")
        problem = row_problem(row, shape, **options)
        if problem is not None:
            raise refused(part.where(number), problem)


def _convert(rows: Any, shape: Shape, options: dict[str, Any]) -> Any:
    """Map all rows to the columns that training takes; drop the others."""
    from datasets import Features, Json, Value

    if len(rows) == 0:
        return rows
    converted = convert(rows[0], shape, **options)
    plain = {name for name in COLUMNS_OF_TEXT if isinstance(converted.get(name), str)}
    names = [name for name in converted if name not in KEPT]
    more = handed_on(rows.column_names) if shape == "prompt" else []
    have = set(map(known_name, rows.column_names))
    kept = [] if plain else [name for name in KEPT if name in have]
    typed = {
        "label": Value("bool"),
        "margin": Value("float32"),
        **dict.fromkeys(plain, Value("string")),
    }
    # As JSON: in columns every message would get the keys of all, and every tool the arguments.
    features = {name: typed.get(name) or Json() for name in (*names, *kept)}
    features |= {name: rows.features[name] for name in more}
    return rows.map(
        _converted,
        fn_kwargs={"shape": shape, "options": options, "kept": kept, "more": more},
        remove_columns=rows.column_names,
        features=Features(features),
        new_fingerprint=cache_key(
            rows,
            (
                shapes,
                turns,
                tools,
                pairs,
                preference_rows,
                prompt_rows,
                other_names,
                sys.modules[__name__],
            ),
            shape,
            sorted(options.items()),
            kept,
            more,
            sorted(plain),
        ),
        desc="converting rows",
    )


def _converted(
    row: dict[str, Any], shape: Shape, options: dict[str, Any], kept: list[str], more: list[str]
) -> dict[str, Any]:
    """Convert one row, with every column that is kept, and `more` that stay as they are."""
    as_they_are = {name: row[name] for name in more}
    return {**as_they_are, **dict.fromkeys(kept), **convert(row, shape, **options)}
