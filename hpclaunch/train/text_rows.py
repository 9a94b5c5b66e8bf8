"""Rows of JSON and CSV files as datasets, by the reader that looked at them before submission.

The JSON reader of `datasets` makes dates of texts, takes the columns of the first 10 MB for those
of all, and writes numbers with ten digits: rows would differ from what was checked.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpclaunch.dataset.formats import Format
from hpclaunch.dataset.local import LocalSplit
from hpclaunch.dataset.read import read_rows
from hpclaunch.dataset.rows import Row, refused, unlike_first
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Objective
from hpclaunch.recipe.shapes import BEARING, COLUMNS, OPTIONAL, detect

READER_VERSION = 2
"""Raised with every change of what is written for a row: cached rows of before are not used."""

UNUSED = "columns not used"
"""Column of the cache that holds, where a row is the first to have them, the names of columns that
are not kept."""


def rows_of_text(
    split: LocalSplit, wanted: str, objective: Objective, limit: int | None
) -> tuple[Any, list[str]]:
    """Return the rows of JSON or CSV files, cached until a file changes, and all their columns.

    Kept are the columns that training may use. One that holds texts in the first row holds texts or
    null; any other holds JSON. Raises UserError naming file and line of what is no row.
    """
    from datasets import Dataset, Features, Json, Value
    from datasets.exceptions import DatasetGenerationError

    first = next(read_rows(split.files[0], split.format))
    shape = detect(list(first.values), wanted, first.where, objective)
    columns = dict.fromkeys((*COLUMNS[shape], *OPTIONAL[shape], *BEARING))
    types = {name: Json() for name in columns} | {UNUSED: Value("string")}
    texts = [name for name in columns if isinstance(first.values.get(name), str)]
    types |= dict.fromkeys(texts, Value("string"))
    state = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in split.files]
    key = json.dumps([READER_VERSION, state, limit, list(columns), texts])
    arguments = {
        "files": tuple(map(str, split.files)),
        "kind": split.format,
        "columns": tuple(columns),
        "texts": tuple(texts),
        "limit": limit,
    }
    try:
        rows = Dataset.from_generator(
            cells_of,
            features=Features(types),
            gen_kwargs=arguments,
            fingerprint=hashlib.sha256(key.encode()).hexdigest()[:32],
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(f"{split.name} cannot be loaded: {reason}") from error
    empty = [
        name
        for name in columns
        if name not in COLUMNS[shape] and rows.data.column(name).null_count == len(rows)
    ]
    unused = [json.loads(names) for names in rows.data.column(UNUSED).drop_null().to_pylist()]
    kept = [name for name in columns if name not in empty]
    return rows.remove_columns([*empty, UNUSED]), [*kept, *itertools.chain(*unused)]


def cells_of(
    files: tuple[str, ...],
    kind: Format,
    columns: tuple[str, ...],
    texts: tuple[str, ...],
    limit: int | None,
) -> Iterator[dict[str, str | None]]:
    """Return the cells of every row: a text as it is, any other value as JSON.

    Raises UserError naming file and line.
    """
    rows = itertools.chain.from_iterable(read_rows(Path(file), kind) for file in files)
    first: Row | None = None
    seen = set(columns)
    for row in itertools.islice(rows, limit):
        first = first or row
        unlike = unlike_first(first, row)
        if unlike is not None:
            raise refused(row.where, unlike)
        cells = {
            name: _text(row.values.get(name)) if name in texts else _json(row, name)
            for name in columns
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
