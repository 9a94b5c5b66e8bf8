"""Rows as the trainer takes them: tokenized, cut or packed; made, written and read again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.chat.truncation import Truncation
from hpclaunch.train.columns import IGNORED
from hpclaunch.train.data import Rows
from hpclaunch.train.tokenize import Tokenized


@dataclass(frozen=True)
class PreparedRows:
    """Rows that need nothing more, and what the training must know of them."""

    train: Any
    validation: Any | None
    truncation: Truncation
    messages: bool
    """The rows were whole conversations."""
    columns_left_out: tuple[str, ...]
    """Columns of the training data that training does not use."""
    samples: int
    """Training samples."""
    validation_samples: int | None
    """Samples to validate on; None without any."""
    sources: tuple[dict[str, Any], ...] = ()
    """What is used of each dataset, as the event `data` has it."""


def arrange(tokenized: Tokenized, rows: Rows, arguments: Any) -> PreparedRows:
    """Return tokenized rows cut to length, or packed, as TRL's trainer does it.

    Answers that are compared or labelled are cut as their batch is made. `arguments`: TRL's config.
    """
    packing = bool(getattr(arguments, "packing", False))
    eval_packing = getattr(arguments, "eval_packing", None)
    validation = tokenized.validation
    if validation is not None:
        evaluated = packing if eval_packing is None else bool(eval_packing)
        validation = _arranged(validation, arguments, evaluated)
    return PreparedRows(
        _arranged(tokenized.train, arguments, packing),
        validation,
        tokenized.truncation,
        rows.messages,
        rows.columns_left_out,
        len(rows.train),
        None if rows.validation is None else len(rows.validation),
        tokenized.sources,
    )


def _arranged(rows: Any, arguments: Any, packing: bool) -> Any:
    import trl

    if "input_ids" not in rows.column_names:
        return rows
    workers = {"num_proc": arguments.dataset_num_proc}
    shuffled = bool(getattr(arguments, "shuffle_dataset", False))
    if packing:
        rows = rows.select_columns(["input_ids", "labels"])
        if shuffled:
            rows = rows.shuffle(seed=arguments.seed)
        rows = trl.pack_dataset(
            rows, arguments.max_length, arguments.packing_strategy, dict(workers)
        )
    elif arguments.max_length is not None:
        end = arguments.truncation_mode == "keep_end"
        options = {"length": arguments.max_length, "keep_end": end}
        rows = rows.map(_cut, fn_kwargs=options, desc="cutting rows", **workers)
        rows = rows.filter(_is_learnt_from, desc="dropping rows with nothing to learn", **workers)
    return rows.shuffle(seed=arguments.seed) if shuffled else rows


def _cut(row: dict[str, Any], length: int, keep_end: bool) -> dict[str, Any]:
    part = slice(-length, None) if keep_end else slice(None, length)
    return {"input_ids": row["input_ids"][part], "labels": row["labels"][part]}


def _is_learnt_from(row: dict[str, Any]) -> bool:
    return any(label != IGNORED for label in row["labels"])


def facts_of(rows: Rows) -> dict[str, Any]:
    """Return what is known of rows before they are tokenized, as `write` returns it."""
    validation = None if rows.validation is None else len(rows.validation)
    return {
        "messages": rows.messages,
        "samples": len(rows.train),
        "validation_samples": validation,
    }


def write(rows: PreparedRows, folder: Path) -> dict[str, Any]:
    """Write rows into a folder; return what else is to be known of them. Raises OSError."""
    rows.train.save_to_disk(str(folder / "train"))
    if rows.validation is not None:
        rows.validation.save_to_disk(str(folder / "validation"))
    return {
        "truncation": dataclasses.asdict(rows.truncation),
        "messages": rows.messages,
        "columns_left_out": list(rows.columns_left_out),
        "samples": rows.samples,
        "rows": len(rows.train),
        "validation_samples": rows.validation_samples,
        "sources": list(rows.sources),
    }


def read(folder: Path, facts: dict[str, Any]) -> PreparedRows:
    """Return the rows that `write` wrote. Raises what reading damaged files raises."""
    from datasets import load_from_disk

    validation = None
    if facts["validation_samples"] is not None:
        validation = load_from_disk(str(folder / "validation"))
    train = load_from_disk(str(folder / "train"))
    if len(train) != facts["rows"]:
        raise ValueError(f"{len(train)} rows instead of {facts['rows']}")
    return PreparedRows(
        train,
        validation,
        Truncation(**facts["truncation"]),
        bool(facts["messages"]),
        tuple(facts["columns_left_out"]),
        int(facts["samples"]),
        facts["validation_samples"],
        tuple(facts["sources"]),
    )
