"""The shape of local rows, told from the first one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from shlex import quote
from typing import Any

from hpclaunch.dataset.formats import format_of
from hpclaunch.dataset.rows import Row
from hpclaunch.errors import UserError
from hpclaunch.recipe.objectives import Shape
from hpclaunch.recipe.schema import Objective
from hpclaunch.recipe.shapes import COLUMNS, detect

_NESTS = ("data", "instances", "rows", "examples", "train")
_TURNS = {"messages", "conversations", "prompt", "completion", "chosen", "rejected", "tools"}
"""Columns that hold dicts of their own: turns, and descriptions of tools."""


def shape_of(first: Row, wanted: str, objective: Objective) -> Shape:
    """Return the shape of rows of which this is the first. `wanted`: the recipe's `data.format`.

    Raises UserError where there is none; where the rows stand under a key, with the command that
    takes them out.
    """
    if _is_columns(first.values):
        name = json.dumps(next(iter(first.values)))
        program = f". as $all | range(.[{name}] | length) as $row | $all | map_values(.[$row])"
        raise UserError(
            f"{first.where}: each key holds a whole column, in place of a row's value",
            f"write a row a line: {_jq(program, first)}",
        )
    where = f"{first.file}:1" if format_of(first.file) == "csv" else first.where  # of its header
    try:
        return detect(list(first.values), wanted, where, objective)
    except UserError as error:
        if len(first.values) > 1 and all(isinstance(v, dict) for v in first.values.values()):
            raise UserError(
                f"{first.where}: each row stands under a key of its own",
                f"write them as JSON lines: {_jq('.[]', first)}",
            ) from error
        key = _rows_inside(first.values)
        if key is None:
            raise
        each = "[]" if isinstance(first.values[key], list) else ""
        raise UserError(
            f"{first.where}: the rows stand under the key '{key}'",
            f"write them as JSON lines: {_jq(f'.[{json.dumps(key)}]{each}', first)}",
        ) from error


def _jq(program: str, first: Row) -> str:
    return f"jq -c {quote(program)} {quote(first.file.name)} > rows.jsonl"


def _is_columns(row: Mapping[str, Any]) -> bool:
    """Return whether this is a table by columns: `{"prompt": ["a", "b"], "completion": [...]}`."""
    columns = list(row.values())
    return (
        len(columns) > 1
        and all(isinstance(column, list) and len(column) > 1 for column in columns)
        and len({len(column) for column in columns}) == 1
        and all(isinstance(cell, str) for column in columns for cell in column)
    )


def _rows_inside(row: Mapping[str, Any]) -> str | None:
    """Return the key under which a row that is none holds rows, or the one row; None: it is one.

    Files are written as `{"data": [...]}`, `{"type": "text_only", "instances": [...]}`, and lines
    as `{"data": {...}}`.
    """
    held = {}
    for key, value in row.items():
        inner = value[0] if isinstance(value, list) and value else value
        if key not in _TURNS and isinstance(inner, dict) and inner:
            held[key] = inner
    usual = next((key for key in _NESTS if key in held), None)
    return next((key for key, inner in held.items() if _has_shape(inner)), usual)


def _has_shape(row: Mapping[str, Any]) -> bool:
    """Return whether a row has the columns of some shape."""
    return any(row.keys() >= set(columns) for columns in COLUMNS.values())
