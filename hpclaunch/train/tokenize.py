"""Rows as tokens and labels, and what is lost of them to `max_length`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpclaunch.chat import rendering, tokens
from hpclaunch.chat.survey import WHOLE_PACKINGS
from hpclaunch.chat.tokens import LossOptions, Tokenizer, tokenize
from hpclaunch.chat.truncation import Truncation, nothing_left, truncation
from hpclaunch.dataset.rows import refused
from hpclaunch.recipe.tools import RowProblem
from hpclaunch.train.cached import cache_key
from hpclaunch.train.data import Rows

IGNORED = -100
"""Label of a token that the loss does not count."""
SPANS = ("first_learnt", "end_of_learnt", "length")
"""Columns that say where in a row something is learnt, and how many tokens it has."""


@dataclass(frozen=True)
class Tokenized:
    """Rows as `input_ids` and `labels`, without those that have nothing left to learn."""

    train: Any
    validation: Any | None
    truncation: Truncation
    """What the training rows lose."""


def masks_assistant(arguments: Any, rows: Rows) -> bool:
    """Return whether the loss counts the assistant's turns alone. `arguments`: TRL's config."""
    return rows.chat and bool(getattr(arguments, "assistant_only_loss", False))


def loss_options(arguments: Any, rows: Rows) -> LossOptions:
    """Return which tokens the loss counts, as TRL understands its config."""
    pairs = "prompt" in rows.train.column_names
    wanted = getattr(arguments, "completion_only_loss", None)
    return LossOptions(masks_assistant(arguments, rows), pairs if wanted is None else bool(wanted))


def tokenize_rows(rows: Rows, source: str, tokenizer: Tokenizer, arguments: Any) -> Tokenized:
    """Return all rows as tokens; what a process before has tokenized is read from the cache.

    `source`: the data's name. Raises UserError naming the first row that the chat template refuses,
    and where no sample has anything to learn.
    """
    options = loss_options(arguments, rows)
    max_length = arguments.max_length
    if arguments.packing and arguments.packing_strategy in WHOLE_PACKINGS:
        max_length = None
    mode = "keep_start" if arguments.packing else arguments.truncation_mode
    workers = arguments.dataset_num_proc
    train = _map(rows.train, rows.where, tokenizer, options, workers)
    lost = _truncation(train, max_length, mode)
    if lost.nothing_left:
        raise nothing_left(source, lost)
    validation = rows.validation
    if validation is not None:
        validation = _kept(
            _map(validation, rows.where_validation, tokenizer, options, workers),
            max_length,
            mode,
            workers,
        )
    return Tokenized(_kept(train, max_length, mode, workers), validation, lost)


class _Refused(Exception):
    """A row that cannot be tokenized: its number, from 0, and why."""


def _map(
    rows: Any,
    where: Callable[[int], str],
    tokenizer: Tokenizer,
    options: LossOptions,
    workers: int | None,
) -> Any:
    try:
        return rows.map(
            _tokens_of,
            with_indices=True,
            fn_kwargs={"tokenizer": tokenizer, "options": options},
            remove_columns=rows.column_names,
            num_proc=workers,
            new_fingerprint=cache_key(
                rows,
                (rendering, tokens, sys.modules[__name__]),
                tokenizer.identity,
                tokenizer.tagged,
                options,
            ),
            desc="tokenizing rows",
        )
    except _Refused as error:
        number, problem = error.args
        raise refused(where(number), problem) from None


def _tokens_of(
    row: dict[str, Any], number: int, tokenizer: Tokenizer, options: LossOptions
) -> dict[str, Any]:
    """Return one row's tokens and labels. Raises _Refused."""
    try:
        result = tokenize(row, tokenizer, options)
    except RowProblem as problem:
        raise _Refused(number, str(problem)) from None
    first, end = result.bounds
    pairs = zip(result.ids, result.learnt, strict=True)
    return {
        "input_ids": result.ids,
        "labels": [token if learnt else IGNORED for token, learnt in pairs],
        "first_learnt": first,
        "end_of_learnt": end,
        "length": len(result.ids),
    }


def _truncation(rows: Any, max_length: int | None, mode: str) -> Truncation:
    columns = [rows[name] for name in SPANS]
    return truncation(list(zip(*columns, strict=True)), max_length, mode)


def _kept(rows: Any, max_length: int | None, mode: str, workers: int | None) -> Any:
    """Return the rows of which something is learnt, without the columns that say so."""
    if max_length is not None:
        rows = rows.filter(
            _has_something_to_learn,
            input_columns=list(SPANS),
            fn_kwargs={"max_length": max_length, "mode": mode},
            num_proc=workers,
            desc="dropping rows with nothing to learn",
        )
    return rows.remove_columns(list(SPANS))


def _has_something_to_learn(first: int, end: int, length: int, max_length: int, mode: str) -> bool:
    return end > length - max_length if mode == "keep_end" else first < max_length
