"""The recipe's data as datasets of checked rows, in the shape that the trainer takes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError, nearest
from hpclaunch.recipe.load import is_local
from hpclaunch.recipe.rows import READERS, check_lines, files_of, refused
from hpclaunch.recipe.schema import Data, Objective
from hpclaunch.recipe.shapes import KEPT, Shape, convert, detect, row_problem
from hpclaunch.shipped import shipped
from hpclaunch.train.hub import explain

BUILTIN = {"builtin:cluster-questions": "cluster-questions"}
IN_LINES = (".jsonl", ".json", ".csv")
COLUMNS_OF_TEXT = ("text", "prompt", "completion")
SPLITS = "set data.split and data.validation_split to splits it has (null for no validation)"


@dataclass(frozen=True)
class Rows:
    """Training rows, and those to validate on where the recipe names some."""

    train: Any
    validation: Any | None
    messages: bool
    """Rows are whole conversations, rather than pairs or plain text."""
    chat: bool
    """Rows go through the chat template."""


def load_rows(data: Data, objective: Objective, *, chat: bool, check: bool) -> Rows:
    """Load and convert the rows of a recipe, to what the objective's trainer takes.

    `chat`: the tokenizer has a chat template. `check`: check every row (one process does, before
    the ranks start). Raises UserError naming the file and line, or the dataset and row.
    """
    train = _load(data.name, data, data.split)
    if data.limit is not None:
        train = train.select(range(min(data.limit, len(train))))
    validation = None
    if data.validation is not None:
        validation = _load(data.validation, data, "train")
    elif data.validation_split is not None:
        validation = _load(data.name, data, data.validation_split)
    if len(train) == 0:
        raise UserError(f"{data.name} has no rows in split '{data.split}'", SPLITS)
    shape = detect(train.column_names, data.format, data.name, objective)

    def conversion(source: str) -> dict[str, Any]:
        return {"wanted": data.format, "chat": chat, "columnar": _columnar(source)}

    parts = {data.name: train, data.validation or "validation": validation}
    for source, part in parts.items():
        if part is not None and check:
            detect(part.column_names, shape, source, objective)
            _check(part, shape, source, conversion(source))
    converted = _convert(train, shape, conversion(data.name))
    chat_rows = _has_messages(converted)
    if chat_rows and not chat:
        raise UserError(
            f"{data.name} holds conversations, and the model's tokenizer has no chat template",
            "use an Instruct model, or name one's template by training.chat_template_path",
        )
    if validation is not None:
        validation = _convert(validation, shape, conversion(data.validation or data.name))
    return Rows(
        train=converted,
        validation=validation,
        messages="messages" in converted.column_names,
        chat=chat_rows,
    )


def _has_messages(rows: Any) -> bool:
    """Return whether converted rows hold messages rather than text."""
    row = rows[0]
    return "messages" in row or isinstance(row.get("prompt"), list)


def _load(name: str, data: Data, split: str) -> Any:
    """Load one split of a builtin, local or hub dataset."""
    if name.startswith("builtin:"):
        return _builtin(name, split)
    if is_local(name):
        return _local(Path(name), split)
    from datasets import load_dataset

    with explain("dataset", name):
        return load_dataset(name, data.subset, revision=data.revision, split=split)


def _builtin(name: str, split: str) -> Any:
    if name not in BUILTIN:
        raise UserError(f"no dataset called '{name}'", nearest(name, BUILTIN))
    part = split.partition("[")[0]
    if part not in ("train", "validation"):
        raise UserError(f"{name} has no split '{part}'", "valid: train, validation")
    path = shipped("recipe", "data", f"{BUILTIN[name]}.{part}.jsonl")
    return _local(path, "train" + split[len(part) :])


def _local(path: Path, split: str) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    files = files_of(path)
    reader = READERS[files[0].suffix]
    try:
        return load_dataset(
            reader,
            data_files=[str(file) for file in files],
            split=split,
            **(_as_text(files[0]) if reader == "csv" else {}),
        )
    except DatasetGenerationError as error:
        for file in files:
            if file.suffix == ".jsonl":
                check_lines(file)
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:200]
        raise UserError(f"{path} cannot be read: {reason}", "repair or convert the file") from error
    except ValueError as error:  # an unknown split, or a slice that is none
        raise UserError(f"{path}: {' '.join(str(error).split())}", SPLITS) from error


def _as_text(file: Path) -> dict[str, Any]:
    """Have a table's cells read as they stand: no numbers (007), nothing missing (NA, null)."""
    from datasets import Features, Value

    with file.open(encoding="utf-8-sig", newline="") as stream:
        header = next((cells for cells in csv.reader(stream) if cells), [])
    features = Features({name: Value("string") for name in header})
    return {"features": features, "keep_default_na": False}


def _check(rows: Any, shape: Shape, source: str, options: dict[str, Any]) -> None:
    """Check every row. Raises UserError for the first bad one, with its line in a jsonl file."""
    for number, row in enumerate(rows, 1):
        problem = row_problem(row, shape, **options)
        if problem is None:
            continue
        if source.endswith(".jsonl"):
            check_lines(Path(source), options["wanted"])
        raise refused(f"{source}, row {number}", problem)


def _convert(rows: Any, shape: Shape, options: dict[str, Any]) -> Any:
    """Map all rows to the columns that training takes; drop the others."""
    from datasets import Features, Json, Value

    if len(rows) == 0:
        return rows
    converted = convert(rows[0], shape, **options)
    plain = {name for name in COLUMNS_OF_TEXT if isinstance(converted.get(name), str)}
    names = [name for name in converted if name not in KEPT]
    kept = [] if plain else [name for name in KEPT if name in rows.column_names]
    # As JSON: in columns every message would get the keys of all, and every tool the arguments.
    features = {name: Value("string") if name in plain else Json() for name in (*names, *kept)}
    return rows.map(
        _converted,
        fn_kwargs={"shape": shape, "options": options, "kept": kept},
        remove_columns=rows.column_names,
        features=Features(features),
        desc="converting rows",
    )


def _converted(
    row: dict[str, Any], shape: Shape, options: dict[str, Any], kept: list[str]
) -> dict[str, Any]:
    """Convert one row, with every column that is kept."""
    return {**dict.fromkeys(kept), **convert(row, shape, **options)}


def _columnar(source: str) -> bool:
    """Return whether a source keeps rows in columns, where a key that a row lacks is null."""
    if source.startswith("builtin:"):
        return False
    return not is_local(source) or Path(source).suffix not in IN_LINES
