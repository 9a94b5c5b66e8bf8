"""Local data as datasets: JSON and CSV by the reader of the submission, tables by `datasets`.

The library's own JSON reader makes dates of texts, takes the columns of the first 10 MB for those
of all, and writes numbers with ten digits: rows would differ from what was checked.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.dataset.arrow_rows import column_names
from hpclaunch.dataset.formats import Format
from hpclaunch.dataset.local import LocalSplit
from hpclaunch.dataset.read import read_rows
from hpclaunch.dataset.rows import Row, refused, unlike_first
from hpclaunch.dataset.sources import Source
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Objective
from hpclaunch.recipe.shapes import BEARING, COLUMNS, OPTIONAL, detect

USED = {
    *BEARING,
    *itertools.chain(*COLUMNS.values()),
    *itertools.chain(*OPTIONAL.values()),
}
"""Columns that rows of any shape may have, or are refused for."""

READER_VERSION = 1
"""Raised with every change of what is written for a row: cached rows of before are not used."""

ROWS_FOR_COLUMNS = 1_000
"""Rows of a file that are read for the names of its columns."""


@dataclass(frozen=True)
class LocalRows:
    """Rows of local data, and where they come from."""

    source: Source
    rows: Any
    columns: tuple[str, ...]
    """All columns that the files have, in order, those not loaded among them."""
    columnar: bool
    """The files keep rows in columns, where a key that a row lacks is null."""
    taken: tuple[tuple[LocalSplit, range], ...]
    """The rows of each split, as numbers in it, in the order of `rows`."""

    def where(self, number: int) -> str:
        """Return the place of a row: its file and line. The first row is 0."""
        for split, chosen in self.taken:
            if number < len(chosen):
                return _place(split, chosen[number])
            number -= len(chosen)
        return self.source.name


def load_local(source: Source, wanted: str, objective: Objective) -> LocalRows:
    """Return the rows of local data. Raises UserError naming file and line of what is no row.

    `wanted` is the recipe's `data.format`.
    """
    from datasets import concatenate_datasets

    loaded, taken, columns = [], [], dict[str, None]()
    only = source.limit if source.whole and len(source.parts) == 1 else None
    for part, split in source.parts:
        rows = _load(split, wanted, objective, only)
        columns |= dict.fromkeys(_columns(split))
        chosen = part.bounds(len(rows))
        taken.append((split, chosen))
        loaded.append(rows if part.whole else rows.select(chosen or range(0)))
    try:
        together = loaded[0] if len(loaded) == 1 else concatenate_datasets(loaded)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{source.name}: the splits have other columns: {reason}") from error
    if source.limit is not None:
        together = together.select(range(min(source.limit, len(together))))
    formats = {split.format for _, split in source.parts}
    columnar = bool(formats & {"parquet", "arrow"})
    return LocalRows(source, together, tuple(columns), columnar, tuple(taken))


def _load(split: LocalSplit, wanted: str, objective: Objective, limit: int | None) -> Any:
    if split.format in ("json", "csv"):
        return _read(split, wanted, objective, limit)
    from datasets import concatenate_datasets, load_dataset
    from datasets.exceptions import DatasetGenerationError

    try:
        # What save_to_disk wrote is read so, too: loaded from there, its folder would be the cache.
        return concatenate_datasets(
            [
                load_dataset(split.format, data_files=files, split="train").remove_columns(unused)
                for files, unused in _alike(split)
            ]
        )
    except (DatasetGenerationError, OSError, ValueError, TypeError) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:200]
        raise UserError(
            f"{split.name} cannot be read: {reason}", "repair or convert the files"
        ) from error


def _alike(split: LocalSplit) -> Iterator[tuple[list[str], list[str]]]:
    """Return files that have the same columns, and which of these are not used.

    All files together where they are alike; else one by one, without what training does not use.
    """
    columns = {file: column_names(file) for file in split.files}
    if len(set(map(frozenset, columns.values()))) == 1:
        yield [str(file) for file in split.files], []
        return
    for file, names in columns.items():
        yield [str(file)], [name for name in names if name not in USED]


def _read(split: LocalSplit, wanted: str, objective: Objective, limit: int | None) -> Any:
    """Return the rows of JSON or CSV files, cached until a file changes.

    A column that holds texts in the first row holds texts or null; any other holds JSON.
    """
    from datasets import Dataset, Features, Json, Value
    from datasets.exceptions import DatasetGenerationError

    first = next(read_rows(split.files[0], split.format))
    shape = detect(list(first.values), wanted, first.where, objective)
    columns = dict.fromkeys((*COLUMNS[shape], *OPTIONAL[shape], *BEARING))
    texts = [name for name in columns if isinstance(first.values.get(name), str)]
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
            features=Features(
                {name: Value("string") if name in texts else Json() for name in columns}
            ),
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
    return rows.remove_columns(empty)


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
    for row in itertools.islice(rows, limit):
        first = first or row
        unlike = unlike_first(first, row)
        if unlike is not None:
            raise refused(row.where, unlike)
        yield {
            name: _text(row.values.get(name)) if name in texts else _json(row, name)
            for name in columns
        }


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


def _columns(split: LocalSplit) -> list[str]:
    """Return the columns of the files, in order."""
    found: dict[str, None] = {}
    if split.format not in ("json", "csv"):
        for file in split.files:
            found |= dict.fromkeys(column_names(file))
        return list(found)
    for file in split.files:
        for row in itertools.islice(read_rows(file, split.format), ROWS_FOR_COLUMNS):
            found |= dict.fromkeys(row.values)
    return list(found)


def _place(split: LocalSplit, number: int) -> str:
    """Return file and line of a split's row."""
    if split.format in ("json", "csv"):
        rows = itertools.chain.from_iterable(read_rows(f, split.format) for f in split.files)
        row = next(itertools.islice(rows, number, None), None)
        if row is not None:
            return row.where
    return f"{split.name}, row {number + 1}"
