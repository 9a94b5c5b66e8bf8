"""Cells of rows of JSON and CSV files, as training keeps them: texts, and JSON of all else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.dataset.read import read_rows
from hpclaunch.dataset.rows import Row, refused, unlike_first
from hpclaunch.errors import UserError
from hpclaunch.recipe.data_formats import Format

UNUSED = "columns not used"
"""Column of the cache that holds, where a row is the first to have them, the names of columns that
are not kept."""


@dataclass(frozen=True)
class Cells:
    """Which files are read, and what is kept of their rows."""

    files: tuple[str, ...]
    kind: Format
    columns: tuple[str, ...]
    texts: tuple[str, ...]
    """Those of the columns that hold texts; the others hold JSON."""
    limit: int | None


def cells_of(wanted: Cells) -> Iterator[dict[str, str | None]]:
    """Return the cells of every row: a text as it is, any other value as JSON.

    Raises UserError naming file and line.
    """
    rows = itertools.chain.from_iterable(
        read_rows(Path(file), wanted.kind) for file in wanted.files
    )
    first: Row | None = None
    seen = set(wanted.columns)
    for row in itertools.islice(rows, wanted.limit):
        first = first or row
        unlike = unlike_first(first, row)
        if unlike is not None:
            raise refused(row.where, unlike)
        cells = {
            name: _text(row.values.get(name)) if name in wanted.texts else _json(row, name)
            for name in wanted.columns
        }
        new = row.values.keys() - seen
        seen |= new
        yield {**cells, UNUSED: json.dumps([n for n in row.values if n in new]) if new else None}


def _text(value: Any) -> str | None:
    """Return a text; anything else as null, which the check of the row then names."""
    return value if isinstance(value, str) else None


def _json(row: Row, name: str) -> str | None:
    value = row.values.get(name)
    if value is None:
        return None
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise UserError(
            f"{row.where}: '{name}' holds NaN or Infinity, which JSON has not", "write null"
        ) from None
