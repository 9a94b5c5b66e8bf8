"""Local data as datasets: JSON and CSV by the reader of the submission, tables by `datasets`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hpclaunch.dataset.arrow_rows import column_names, row_count
from hpclaunch.dataset.local import LocalSplit
from hpclaunch.dataset.read import read_rows
from hpclaunch.dataset.sources import Source
from hpclaunch.errors import UserError
from hpclaunch.recipe.data_formats import TEXT_FORMATS
from hpclaunch.recipe.objectives import OBJECTIVES, Objective
from hpclaunch.recipe.shapes import BEARING, COLUMNS, OPTIONAL
from hpclaunch.train.text_rows import rows_of_text

USED = {
    *BEARING,
    *itertools.chain(*COLUMNS.values()),
    *itertools.chain(*OPTIONAL.values()),
}
"""Columns that rows of any shape may have, or are refused for."""


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
        rows, names = _load(split, wanted, objective, only)
        columns |= dict.fromkeys(names)
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
    columnar = bool(formats - TEXT_FORMATS)
    return LocalRows(source, together, tuple(columns), columnar, tuple(taken))


def _load(
    split: LocalSplit, wanted: str, objective: Objective, limit: int | None
) -> tuple[Any, list[str]]:
    """Return the rows of a split, and all columns that its files have."""
    if split.format in TEXT_FORMATS:
        return rows_of_text(split, wanted, objective, limit)
    from datasets import concatenate_datasets, load_dataset
    from datasets.exceptions import DatasetGenerationError

    try:
        # What save_to_disk wrote is read so, too: loaded from there, its folder would be the cache.
        rows = concatenate_datasets(
            [
                load_dataset(split.format, data_files=files, split="train").remove_columns(unused)
                for files, unused in _alike(split, objective)
            ]
        )
        names = dict.fromkeys(itertools.chain(*map(column_names, split.files)))
        return rows, list(names)
    except (DatasetGenerationError, OSError, ValueError, TypeError) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:200]
        raise UserError(
            f"{split.name} cannot be read: {reason}", "repair or convert the files"
        ) from error


def _alike(split: LocalSplit, objective: Objective) -> Iterator[tuple[list[str], list[str]]]:
    """Return files that have the same columns, and which of these are not used.

    All files together where they are alike; else one by one, without what training does not use: of
    prompts, reward functions may use all.
    """
    columns = {file: column_names(file) for file in split.files}
    if len(set(map(frozenset, columns.values()))) == 1:
        yield [str(file) for file in split.files], []
        return
    for file, names in columns.items():
        if OBJECTIVES[objective].writes_completions:
            yield [str(file)], []
            continue
        yield [str(file)], [name for name in names if name not in USED]


def _place(split: LocalSplit, number: int) -> str:
    """Return the file of a split's row, and its line or its number there."""
    if split.format in TEXT_FORMATS:
        rows = itertools.chain.from_iterable(read_rows(f, split.format) for f in split.files)
        row = next(itertools.islice(rows, number, None), None)
        return split.name if row is None else row.where
    for file in split.files:
        count = row_count(file)
        if number < count:
            return f"{file}, row {number + 1}"
        number -= count
    return split.name
