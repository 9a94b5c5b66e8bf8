"""Several datasets as one: what `data.sources` says, and a dataset by itself in the same terms."""

from __future__ import annotations

from typing import NamedTuple

from hpclaunch.document import Document
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Data, Recipe

OF_ONE = ("subset", "revision", "format", "split", "limit", "validation_split")
"""Keys of `data` that describe one dataset: beside `data.sources` they would mean nothing."""


class Part(NamedTuple):
    """One dataset to train on."""

    data: Data
    weight: float = 1.0
    """How often an epoch takes each of its rows."""


def parts_of(data: Data) -> tuple[Part, ...]:
    """Return the datasets that a recipe trains on, each as a section of its own."""
    if not data.sources:
        return (Part(data),)
    return tuple(
        Part(
            Data(
                name=source.name,
                subset=source.subset,
                revision=source.revision,
                format=source.format,
                split=source.split,
                limit=source.limit,
            ),
            source.weight,
        )
        for source in data.sources
    )


def samples_of(data: Data, counted: list[int | None]) -> int | None:
    """Return the training samples of an epoch; None where that is not known.

    `counted`: the rows of each part, before its limit, None where nobody knows them.
    """
    total = 0.0
    for part, rows in zip(parts_of(data), counted, strict=True):
        limit = part.data.limit
        used = limit if rows is None else rows if limit is None else min(rows, limit)
        if used is None:
            return None
        total += (used - held_out(data, used)) * part.weight
    return round(total)


def held_out(data: Data, rows: int) -> int:
    """Return how many of so many rows are cut off to validate on, before equal ones are joined."""
    if data.validation_fraction is None:
        return 0
    return min(rows, max(1, round(rows * data.validation_fraction)))


def drop_null_name(document: Document) -> None:
    """Take out a `data.name` that is null: `data.sources` stands for it."""
    data = document.data.get("data")
    if isinstance(data, dict) and data.get("name", "") is None:
        del data["name"]


def check_mixture(document: Document, recipe: Recipe) -> None:
    """Refuse keys of `data` that do not go together. Raises UserError naming file, line and key."""
    data = recipe.data
    where = document.where(("data",))
    if not data.name and not data.sources:
        raise UserError(f"{where}: key 'data.name' is missing", "or list several in data.sources")
    if data.name and data.sources:
        raise UserError(
            f"{where}: data.name and data.sources: which to train on is not known",
            "take one of them out: data.name=null or data.sources=[]",
        )
    if data.validation_fraction is not None and (data.validation or data.validation_split):
        other = "validation" if data.validation else "validation_split"
        raise UserError(
            f"{document.where(('data', 'validation_fraction'))}: data.validation_fraction and "
            f"data.{other} both say what to validate on",
            f"set one of them to null: data.{other}=null",
        )
    if not data.sources:
        return
    for key in OF_ONE:
        if getattr(data, key) != getattr(Data(), key):
            fix = (
                "name a file by data.validation, or set data.validation_fraction"
                if key == "validation_split"
                else f"set {key} in each entry of data.sources"
            )
            raise UserError(f"{document.where(('data', key))}: data.{key} beside data.sources", fix)
