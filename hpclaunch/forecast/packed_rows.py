"""How many rows the samples fill once they are packed, as far as that can be told beforehand."""

from __future__ import annotations

import math
from typing import NamedTuple

from hpclaunch.errors import UserError
from hpclaunch.predict.from_recipe import seq_len_of
from hpclaunch.recipe.attention import packs
from hpclaunch.recipe.mixture import held_out
from hpclaunch.recipe.paths import is_here
from hpclaunch.recipe.schema import Recipe

BYTES_PER_TOKEN = 4.5
"""Of a text file of rows, names of columns and quotes with them: English under a vocabulary of
32,000 to 256,000 tokens; an estimate."""
UNFILLED = 0.03
"""Share of packed rows that stays empty; an estimate."""
NOT_COUNTED = "as many rows as samples: packed, they fill fewer, and it takes fewer steps"


class Rows(NamedTuple):
    """Rows of an epoch, and what their number rests on."""

    number: int | None
    """None where the number of samples is not known."""
    assumed: str | None
    """In words; None where nothing is assumed."""


def rows_of(recipe: Recipe, samples: int | None) -> Rows:
    """Return the rows of an epoch. `samples`: of the data, before its limit; None: not known."""
    limit = recipe.data.limit
    used = samples if limit is None or samples is None else min(limit, samples)
    used = limit if used is None else used
    if used is not None and not recipe.data.sources:
        used -= held_out(recipe.data, used)
    if used is None or not packs(recipe):
        return Rows(used, None)
    size = _text_bytes(recipe)
    if size is None or samples is None:
        return Rows(used, NOT_COUNTED)
    tokens = size * used / max(1, samples) / BYTES_PER_TOKEN
    rows = min(used, max(1, math.ceil(tokens / seq_len_of(recipe) / (1 - UNFILLED))))
    return Rows(
        rows, f"{used:,} samples are packed into {rows:,} rows: {BYTES_PER_TOKEN} bytes a token"
    )


def _text_bytes(recipe: Recipe) -> int | None:
    """Return the bytes of local text files; None for other formats, for parts of files, and where
    there are none.
    """
    if recipe.data.sources or not is_here(recipe.data.name):
        return None
    from hpclaunch.dataset.sources import training_source
    from hpclaunch.recipe.data_formats import TEXT_FORMATS

    try:
        source = training_source(recipe.data)
        if source is None or not source.whole:
            return None
        splits = [split for _, split in source.parts]
    except (OSError, UserError):
        return None
    if any(split.format not in TEXT_FORMATS for split in splits):
        return None
    return sum(split.bytes for split in splits)
