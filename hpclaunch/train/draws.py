"""Rows drawn from tokenized datasets: held out, repeated, mixed. The same for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from hpclaunch.errors import UserError
from hpclaunch.recipe.mixture import Part, held_out
from hpclaunch.recipe.schema import Data

BATCH = 1_000
"""Rows that are read at once."""
DIGEST_BYTES = 16


def hold_out(data: Data, rows: Sequence[Any]) -> list[tuple[Any, Any | None]]:
    """Return of each dataset the rows to train on, and those that are held out to validate on.

    A row that is held out is nowhere trained on: those with the same tokens are held out with it,
    and left out of the other datasets. Raises UserError where nothing is left to train on.
    """
    if data.validation_fraction is None:
        return [(each, None) for each in rows]
    digests = [row_digests(each) for each in rows]
    chosen = [
        _draw(each, held_out(data, len(each)), np.random.default_rng([data.seed, number]))
        for number, each in enumerate(digests)
    ]
    everywhere = np.unique(np.concatenate(chosen))
    made = []
    for each, own, values in zip(rows, chosen, digests, strict=True):
        train = np.flatnonzero(~np.isin(values, everywhere))
        if len(train) == 0:
            raise UserError(
                f"data.validation_fraction {data.validation_fraction:g} leaves nothing to train "
                f"on of {len(each):,} rows, of which {len(np.unique(values)):,} differ",
                "lower it, or give more rows",
            )
        made.append((selected(each, train), selected(each, np.flatnonzero(np.isin(values, own)))))
    return made


def weighted(rows: Any, weight: float, seed: Sequence[int]) -> Any:
    """Return each row as often as the weight says; of the fraction that is left, a draw."""
    if weight == 1:
        return rows
    whole, rest = divmod(weight, 1.0)
    drawn = np.random.default_rng(list(seed)).permutation(len(rows))[: round(rest * len(rows))]
    repeated = np.tile(np.arange(len(rows)), int(whole))
    return selected(rows, np.concatenate([repeated, np.sort(drawn)]))


def shuffled(rows: Any, seed: Sequence[int]) -> Any:
    """Return the rows in an order that follows from the seed."""
    return selected(rows, np.random.default_rng(list(seed)).permutation(len(rows)))


def joined(rows: Sequence[Any]) -> Any | None:
    """Return the rows of all, one after another; None where there are none."""
    from datasets import concatenate_datasets

    return concatenate_datasets(list(rows)) if rows else None


def selected(rows: Any, indices: Any) -> Any:
    """Return the rows of these numbers."""
    numbers = np.asarray(indices, dtype=np.int64)
    key = hashlib.sha256(rows._fingerprint.encode() + numbers.tobytes()).hexdigest()[:32]
    return rows.select(numbers, new_fingerprint=key)


def use_of(part: Part, rows: Any, drawn: Any, validation: Any | None = None) -> dict[str, Any]:
    """Return what was used of a dataset, for the run folder.

    `rows`: of the dataset; `drawn`: those of an epoch; `validation`: those held out.
    """
    digests = row_digests(drawn)
    return {
        "name": part.data.name,
        "split": part.data.split,
        "weight": part.weight,
        "rows": len(rows),
        "samples": len(drawn),
        "tokens": _tokens(drawn),
        "validation": 0 if validation is None else len(validation),
        "sha256": hashlib.sha256(digests.tobytes()).hexdigest(),
    }


def row_digests(rows: Any) -> Any:
    """Return a digest of each row's columns, as an array of bytes."""
    found = []
    for columns in _batches(rows):
        for cells in zip(*columns, strict=True):
            digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
            for cell in cells:
                digest.update(len(cell).to_bytes(8, "little"))
                digest.update(cell)
            found.append(digest.digest())
    return np.array(found, dtype=f"V{DIGEST_BYTES}")


def _batches(rows: Any) -> Any:
    """Yield the cells of some rows at a time, column by column, as bytes."""
    names = sorted(rows.column_names)
    for table in rows.select_columns(names).with_format("arrow").iter(batch_size=BATCH):
        yield [_cells(table.column(name).combine_chunks()) for name in names]


def _cells(column: Any) -> list[bytes]:
    import pyarrow

    if not pyarrow.types.is_list(column.type) or pyarrow.types.is_nested(column.type.value_type):
        return [repr(value).encode() for value in column.to_pylist()]
    values = np.ascontiguousarray(column.flatten().to_numpy(zero_copy_only=False))
    ends = np.cumsum([0, *(length or 0 for length in column.value_lengths().to_pylist())])
    return [values[begin:end].tobytes() for begin, end in pairwise(ends)]


def _tokens(rows: Any) -> int:
    """Return the tokens of all rows: of the columns whose names end in `ids`."""
    import pyarrow.compute as pc

    names = [name for name in rows.column_names if name.endswith("ids")]
    if not names:
        return 0
    tables = rows.select_columns(names).with_format("arrow").iter(batch_size=BATCH)
    return sum(
        int(pc.sum(pc.list_value_length(table.column(name))).as_py() or 0)
        for table in tables
        for name in names
    )


def _draw(digests: Any, wanted: int, generator: Any) -> Any:
    """Return digests of which at least so many rows are, drawn one after another."""
    unique, counts = np.unique(digests, return_counts=True)
    order = generator.permutation(len(unique))
    enough = int(np.searchsorted(np.cumsum(counts[order]), wanted)) + 1
    return unique[order[:enough]]
