"""The recipe's data as datasets of checked rows, in the shape that the trainer takes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError, nearest
from hpclaunch.recipe.load import is_local
from hpclaunch.recipe.rows import READERS, REPAIR, check_lines, files_of
from hpclaunch.recipe.schema import Data, Objective
from hpclaunch.recipe.shapes import KEPT, Shape, convert, detect, row_problem
from hpclaunch.shipped import shipped
from hpclaunch.train.hub import explain

BUILTIN = {"builtin:cluster-questions": "cluster-questions"}
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
    parts = {data.name: train, data.validation or "validation": validation}
    for source, part in parts.items():
        if part is not None and check:
            detect(part.column_names, shape, source, objective)
            _check(part, shape, source)
    converted = _convert(train, shape, chat)
    chat_rows = _has_messages(converted)
    if chat_rows and not chat:
        raise UserError(
            f"{data.name} holds conversations, and the model's tokenizer has no chat template",
            "use an Instruct model, or name one's template by training.chat_template_path",
        )
    return Rows(
        train=converted,
        validation=None if validation is None else _convert(validation, shape, chat),
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


def _check(rows: Any, shape: Shape, source: str) -> None:
    """Check every row. Raises UserError for the first bad one, with its line in a jsonl file."""
    for number, row in enumerate(rows, 1):
        problem = row_problem(row, shape)
        if problem is None:
            continue
        if source.endswith(".jsonl"):
            check_lines(Path(source))
        raise UserError(f"{source}, row {number}: {problem}", REPAIR)


def _convert(rows: Any, shape: Shape, chat: bool) -> Any:
    """Map all rows to the trainer's columns and drop the others."""
    dropped = [name for name in rows.column_names if name not in KEPT]
    if shape in ("messages", "prompt_completion", "text"):  # these are as they are
        keep = set(convert(rows[0], shape, chat=chat)) if len(rows) else set()
        return rows.remove_columns([name for name in dropped if name not in keep])
    return rows.map(
        convert,
        fn_kwargs={"shape": shape, "chat": chat},
        remove_columns=dropped,
        desc="converting rows",
    )
