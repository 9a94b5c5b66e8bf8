"""Rows of JSON and CSV files as datasets, by the reader that looked at them before submission.

The JSON reader of `datasets` makes dates of texts, takes the columns of the first 10 MB for those
of all, and writes numbers with ten digits: rows would differ from what was checked.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

from hpclaunch.dataset.local import LocalSplit
from hpclaunch.dataset.read import read_rows
from hpclaunch.dataset.shape import shape_of
from hpclaunch.errors import UserError
from hpclaunch.recipe.objectives import Shape
from hpclaunch.recipe.schema import Objective
from hpclaunch.recipe.shapes import BEARING, COLUMNS, OPTIONAL
from hpclaunch.train.cells import UNUSED, Cells

READER_VERSION = 3
"""Raised with every change of what is written for a row: cached rows of before are not used."""


def rows_of_text(
    split: LocalSplit, wanted: str, objective: Objective, limit: int | None
) -> tuple[Any, list[str]]:
    """Return the rows of JSON or CSV files, cached until a file changes, and all their columns.

    Kept are the columns that training may use: of prompts all, for the reward functions. One that
    holds texts in the first row holds texts or null; any other holds JSON. Raises UserError naming
    file and line of what is no row.
    """
    from datasets.exceptions import DatasetGenerationError

    from hpclaunch.train.text_rows_builder import TextRows

    first = next(read_rows(split.files[0], split.format))
    shape = shape_of(first, wanted, objective)
    columns = tuple(
        dict.fromkeys(
            (*COLUMNS[shape], *OPTIONAL[shape], *BEARING, *_handed_on(split, shape, limit))
        )
    )
    texts = tuple(name for name in columns if isinstance(first.values.get(name), str))
    state = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in split.files]
    key = json.dumps([READER_VERSION, state, limit, columns, texts])
    fingerprint = hashlib.sha256(key.encode()).hexdigest()[:32]
    cells = Cells(tuple(map(str, split.files)), split.format, columns, texts, limit)
    builder = TextRows(config_id=f"default-{fingerprint}", cells=cells)
    try:
        builder.download_and_prepare()
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(f"{split.name} cannot be loaded: {reason}") from error
    rows = builder.as_dataset("train")
    empty = [
        name
        for name in columns
        if name not in COLUMNS[shape] and rows.data.column(name).null_count == len(rows)
    ]
    unused = [json.loads(names) for names in rows.data.column(UNUSED).drop_null().to_pylist()]
    kept = [name for name in columns if name not in empty]
    return rows.remove_columns([*empty, UNUSED]), [*kept, *itertools.chain(*unused)]


def _handed_on(split: LocalSplit, shape: Shape, limit: int | None) -> list[str]:
    """Return the columns of all rows that reward functions get: every row may have others."""
    if shape != "prompt":
        return []
    rows = itertools.chain.from_iterable(read_rows(file, split.format) for file in split.files)
    return list(dict.fromkeys(name for row in itertools.islice(rows, limit) for name in row.values))
