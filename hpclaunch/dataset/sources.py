"""Which local data a recipe trains and validates on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hpclaunch.dataset.local import SET_SPLITS, LocalSplit, held_out_split, local_split
from hpclaunch.dataset.slices import Slice, parse_split
from hpclaunch.errors import UserError, nearest
from hpclaunch.frozen import frozen
from hpclaunch.recipe.library import BUILTIN_DATA
from hpclaunch.recipe.mixture import parts_of
from hpclaunch.recipe.paths import is_here
from hpclaunch.recipe.schema import Data
from hpclaunch.shipped import shipped

BUILTIN = {name: name.removeprefix("builtin:") for name in BUILTIN_DATA}
"""Datasets that come with the package, and their files."""

BUILTIN_SPLITS = ("train", "validation")


@frozen
class Source:
    """Rows of local data: whole splits, or parts of them, one after another."""

    name: str
    """The file, folder or builtin dataset."""
    parts: tuple[tuple[Slice, LocalSplit], ...]
    limit: int | None = None
    """Only the first so many rows are used."""

    @property
    def whole(self) -> bool:
        """Whether every row is used, up to the limit."""
        return all(part.whole for part, _ in self.parts)


class LocalData(NamedTuple):
    """What of a dataset is local data."""

    data: Data
    """A single dataset, of whose rows all have one shape."""
    training: Source | None
    validation: Source | None


def local_data(data: Data) -> tuple[LocalData, ...]:
    """Return the local data of each dataset that a recipe reads. Raises UserError."""
    if not data.sources:
        return (LocalData(data, training_source(data), validation_source(data)),)
    found = [LocalData(part, training_source(part), None) for part, _ in parts_of(data)]
    held_out = validation_data(data)
    if held_out is not None:
        found.append(LocalData(held_out, None, training_source(held_out)))
    return tuple(found)


def validation_data(data: Data) -> Data | None:
    """Return what `data.validation` names as a dataset by itself, None where it names nothing."""
    name = data.validation
    if name is None:
        return None
    here = is_here(name) and not name.startswith("builtin:")
    return Data(name=name, split=held_out_split(Path(name)) if here else "train")


def training_source(data: Data) -> Source | None:
    """Return the local data to train on, None where it is the hub's. Raises UserError."""
    return _source(data.name, data.split, data, "data.split", data.limit)


def validation_source(data: Data) -> Source | None:
    """Return the local data to validate on, None where there is none or it is the hub's.

    Raises UserError.
    """
    if data.validation is not None:
        if not is_here(data.validation):
            return None
        split = "train"
        if not data.validation.startswith("builtin:"):
            split = held_out_split(Path(data.validation))
        return _source(data.validation, split, None, "data.validation", None)
    if data.validation_split is None:
        return None
    return _source(data.name, data.validation_split, data, "data.validation_split", None)


def validates_on_training_rows(part: LocalData) -> bool:
    """Return whether rows that are trained on are validated on, too, as far as that is known."""
    data, training, validation = part
    if data.validation is None and data.validation_split == data.split:
        return True
    if training is None or validation is None:
        return False
    return any(
        set(split.files) & set(other.files) and (mine.whole or theirs.whole or mine == theirs)
        for mine, split in training.parts
        for theirs, other in validation.parts
    )


def _source(name: str, text: str, data: Data | None, key: str, limit: int | None) -> Source | None:
    if not is_here(name):
        return None
    try:
        slices = parse_split(text)
    except UserError as error:
        raise UserError(f"{key}: {error.message}", error.fix) from None
    subset = None if data is None else data.subset
    return Source(name, tuple((part, _split(name, part.split, subset)) for part in slices), limit)


def _split(name: str, split: str, subset: str | None) -> LocalSplit:
    if not name.startswith("builtin:"):
        return local_split(Path(name), split, subset)
    if name not in BUILTIN:
        raise UserError(f"no dataset called '{name}'", nearest(name, BUILTIN))
    if split not in BUILTIN_SPLITS:
        raise UserError(
            f"{name} has no split '{split}', but {', '.join(BUILTIN_SPLITS)}", SET_SPLITS
        )
    file = shipped("recipe", "data", f"{BUILTIN[name]}.{split}.jsonl")
    return LocalSplit(name, split, (file,), "json")
