"""`training.global_batch`: the rows of an optimizer step over all ranks, however many there are.

A row is what the trainer counts as one example: a sample, or, where samples are packed, a row of
`training.max_length` tokens that holds several. Batch and accumulation of a rank follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hpclaunch.errors import UserError
from hpclaunch.recipe.parallel import data_parallel_ranks
from hpclaunch.recipe.schema import Recipe

FIELD = "global_batch"
BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
PARTS = (BATCH, ACCUMULATION)
FOLLOWS = "follows_global_batch"
MOST_SAMPLES = 1024
"""Rows of a micro-batch up to which sizes are tried."""


def later_word(document: dict[str, Any], typed: Mapping[str, Any]) -> None:
    """Remove from a file's data, in place, what a command line's words on the batch override.

    `typed`: dotted keys from the command line.
    """
    follows = document.get(FOLLOWS)
    if typed.get(f"training.{FIELD}") is not None:
        document.pop(FOLLOWS, None)
        training = document.get("training")
        if isinstance(training, dict):
            for key in PARTS:
                training.pop(key, None)
    elif isinstance(follows, list):
        document[FOLLOWS] = [key for key in follows if f"training.{key}" not in typed]


def with_global_batch(recipe: Recipe, given: Mapping[str, Any], training: dict[str, Any]) -> Recipe:
    """Return the recipe with the batch and accumulation that its file leaves to the global batch.

    `given`: its section as written; `training`: with defaults. What is missing is set for one rank,
    until `divide` is told how many there are, which also refuses what cannot be.
    """
    whole = given.get(FIELD)
    if whole is None:
        training = {key: value for key, value in training.items() if key != FIELD}
        return replace(recipe, training=training, follows_global_batch=[])
    known = [key for key in PARTS if key in given]
    follows = [key for key in PARTS if key not in known or key in recipe.follows_global_batch]
    if len(known) < len(PARTS):
        fixed = next((key for key in known if key not in follows), None)
        first, second = (BATCH, ACCUMULATION) if fixed != ACCUMULATION else (ACCUMULATION, BATCH)
        size = int(training[first]) if fixed else 1
        training = {**training, first: size, second: max(1, int(whole) // size)}
    return replace(recipe, training=training, follows_global_batch=follows)


def follows_global_batch(recipe: Recipe) -> bool:
    """Return whether batch or accumulation follow from the global batch."""
    return bool(recipe.follows_global_batch)


def micro_batches(recipe: Recipe, ranks: int) -> list[int]:
    """Return the sizes that a rank's micro-batch can have, the smallest first.

    Raises UserError where the global batch cannot be divided.
    """
    share = rows_of_rank(recipe, ranks)
    if BATCH not in recipe.follows_global_batch:
        return [int(recipe.training[BATCH])]
    if ACCUMULATION not in recipe.follows_global_batch:
        return [share // int(recipe.training[ACCUMULATION])]
    least = least_micro_batch(recipe)
    sizes = [each for each in range(least, min(share, MOST_SAMPLES) + 1) if share % each == 0]
    if not sizes:
        raise UserError(
            f"training.{FIELD}: {_rows_in_words(share)} on each rank, and objective "
            f"{recipe.objective} needs micro-batches of at least {least}",
            f"set training.{FIELD}={least * ranks} or a multiple",
        )
    return sizes


def least_micro_batch(recipe: Recipe) -> int:
    """Return the rows of the smallest micro-batch: KTO compares with the others in it."""
    return 2 if recipe.objective_spec.estimates_kl(recipe.training) else 1


def _rows_in_words(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"


def rows_of_rank(recipe: Recipe, ranks: int) -> int:
    """Return the rows of a step on each rank. Raises UserError where they are no whole number."""
    whole = int(recipe.training[FIELD])
    ranks = data_parallel_ranks(recipe, ranks)
    fixed = [key for key in PARTS if key not in recipe.follows_global_batch]
    unit = ranks
    for key in fixed if follows_global_batch(recipe) else ():
        unit *= int(recipe.training[key])
    if whole % unit == 0:
        return whole // ranks
    least = least_micro_batch(recipe) if unit == ranks else 1
    below, above = whole // unit * unit, max(whole // unit + 1, least) * unit
    nearest = f"{below} or {above}" if below >= least * unit and below else f"{above}"
    over = f"{ranks} ranks" if ranks > 1 else "one rank"
    for key in fixed:
        over += f" with training.{key}: {recipe.training[key]}"
    fix = f"the nearest that can: training.{FIELD}={nearest}"
    if unit == ranks:
        fix += f"; or take {_ranks_near(whole, ranks, least)} ranks"
    raise UserError(f"training.{FIELD}: {whole} cannot be divided over {over}", fix)


def divide(recipe: Recipe, ranks: int, micro_batch: int | None = None) -> Recipe:
    """Return the recipe with batch and accumulation for so many ranks; values that are set win.

    `micro_batch`: one of `micro_batches`; None takes the largest that holds no more tokens than a
    micro-batch of one row of 2,048. Raises UserError where the global batch cannot be divided.
    """
    if not follows_global_batch(recipe):
        return recipe
    sizes = micro_batches(recipe, ranks)
    share = rows_of_rank(recipe, ranks)
    tokens = int(recipe.training.get("max_length") or _TOKENS)
    small = [each for each in sizes if each * tokens <= _TOKENS]
    size = micro_batch or max(small, default=sizes[0])
    return replace(recipe, training={**recipe.training, BATCH: size, ACCUMULATION: share // size})


_TOKENS = 2048
"""Of a micro-batch where nothing is known of the memory."""


def differs(recipe: Recipe, ranks: int) -> int | None:
    """Return the global batch of a recipe that sets both parts, where it is not the one it names.

    None where it is, or where the recipe names none.
    """
    whole = recipe.training.get(FIELD)
    made = int(recipe.training[BATCH]) * int(recipe.training[ACCUMULATION])
    made *= data_parallel_ranks(recipe, ranks)
    return None if whole is None or whole == made else made


def _ranks_near(whole: int, ranks: int, least: int) -> str:
    """Return in words the numbers of ranks next to `ranks` that divide a batch.

    `least`: the rows that each must have.
    """
    most = max(1, whole // least)
    below = max(each for each in range(1, min(ranks, most) + 1) if whole % each == 0)
    above = next((each for each in range(ranks + 1, most + 1) if whole % each == 0), None)
    return f"{below}" if above is None else f"{below} or {above}"
