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
from hpclaunch.recipe.shapes import detect

_NESTS = ("data", "instances", "rows", "examples", "train")
_TURNS = {"messages", "conversations", "prompt", "completion", "chosen", "rejected", "tools"}
"""Columns that hold dicts of their own: turns, and descriptions of tools."""


def shape_of(first: Row, wanted: str, objective: Objective) -> Shape:
    """Return the shape of rows of which this is the first. `wanted`: the recipe's `data.format`.

    Raises UserError where there is none; where the rows stand under a key, with the command that
    takes them out.
    """
    where = f"{first.file}:1" if format_of(first.file) == "csv" else first.where  # of its header
    try:
        return detect(list(first.values), wanted, where, objective)
    except UserError as error:
        key = _rows_inside(first.values)
        if key is None:
            raise
        each = "[]" if isinstance(first.values[key], list) else ""
        program, file = quote(f".[{json.dumps(key)}]{each}"), quote(first.file.name)
        raise UserError(
            f"{first.where}: the rows stand under the key '{key}'",
            f"write them as JSON lines: jq -c {program} {file} > rows.jsonl",
        ) from error


def _rows_inside(row: Mapping[str, Any]) -> str | None:
    """Return the key under which a row that is none holds rows, or the one row; None: it is one.

    Files are written as `{"data": [...]}`, `{"type": "text_only", "instances": [...]}`, and lines
    as `{"data": {...}}`.
    """
    held = [
        key
        for key, value in row.items()
        if key not in _TURNS
        and (
            (isinstance(value, list) and value and isinstance(value[0], dict))
            or (isinstance(value, dict) and value)
        )
    ]
    return held[0] if len(held) == 1 else next((key for key in held if key in _NESTS), None)
