"""Rows as tokens and labels, and what is lost of them to `max_length`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpclaunch.chat import preference, rendering, tokens
from hpclaunch.chat.survey import WHOLE_PACKINGS
from hpclaunch.chat.tokens import LossOptions, Tokenizer
from hpclaunch.chat.truncation import (
    MAX_LENGTH,
    MAX_PROMPT_LENGTH,
    Truncation,
    nothing_left,
    truncation,
)
from hpclaunch.dataset.rows import refused
from hpclaunch.recipe.objectives import DEFAULT_OBJECTIVE, OBJECTIVES, Objective
from hpclaunch.recipe.tools import RowProblem
from hpclaunch.train import columns
from hpclaunch.train.cached import cache_key
from hpclaunch.train.columns import SPANS
from hpclaunch.train.data import Rows
from hpclaunch.train.objectives import TRAINERS


@dataclass(frozen=True)
class Tokenized:
    """Rows in their trainer's columns of tokens, without those that have nothing left to learn."""

    train: Any
    validation: Any | None
    truncation: Truncation
    """What the training rows lose."""
    sources: tuple[dict[str, Any], ...] = ()
    """What is used of each dataset, as the event `data` has it."""


def masks_assistant(arguments: Any, rows: Rows) -> bool:
    """Return whether the loss counts the assistant's turns alone. `arguments`: TRL's config."""
    return rows.chat and bool(getattr(arguments, "assistant_only_loss", False))


def loss_options(arguments: Any, rows: Rows) -> LossOptions:
    """Return which tokens the loss counts, as TRL understands its config."""
    pairs = "prompt" in rows.train.column_names
    wanted = getattr(arguments, "completion_only_loss", None)
    return LossOptions(
        masks_assistant(arguments, rows),
        pairs if wanted is None else bool(wanted),
        getattr(arguments, "chat_template_kwargs", None) or {},
    )


def tokenize_rows(
    rows: Rows,
    source: str,
    tokenizer: Tokenizer,
    arguments: Any,
    objective: Objective = DEFAULT_OBJECTIVE,
    max_prompt_length: int | None = None,
) -> Tokenized:
    """Return all rows as tokens; what a process before has tokenized is read from the cache.

    `source`: the data's name. `max_prompt_length`: of an objective whose rows are prompts, in
    place of `max_length`. Raises UserError naming the first row that the chat template refuses,
    and where no sample has anything to learn.
    """
    options = loss_options(arguments, rows)
    field = MAX_LENGTH if max_prompt_length is None else MAX_PROMPT_LENGTH
    max_length = max_prompt_length or arguments.max_length
    packing = getattr(arguments, "packing", False)
    if packing and arguments.packing_strategy in WHOLE_PACKINGS:
        max_length = None
    mode = "keep_start" if packing else getattr(arguments, "truncation_mode", "keep_start")
    workers = getattr(arguments, "dataset_num_proc", None)
    train = _map(rows.train, rows.where, tokenizer, options, workers, objective)
    lost = _truncation(train, max_length, mode, field)
    if lost.nothing_left:
        raise nothing_left(source, lost)
    validation = rows.validation
    if validation is not None:
        validation = _kept(
            _map(validation, rows.where_validation, tokenizer, options, workers, objective),
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
    objective: Objective,
) -> Any:
    keeps_columns = OBJECTIVES[objective].writes_completions  # for reward functions
    try:
        return rows.map(
            _tokens_of,
            with_indices=True,
            fn_kwargs={"tokenizer": tokenizer, "options": options, "objective": objective},
            remove_columns=[] if keeps_columns else rows.column_names,
            num_proc=workers,
            new_fingerprint=cache_key(
                rows,
                (rendering, tokens, preference, columns, sys.modules[__name__]),
                tokenizer.identity,
                tokenizer.tagged,
                options,
                objective,
            ),
            desc="tokenizing rows",
        )
    except _Refused as error:
        number, problem = error.args
        raise refused(where(number), problem) from None


def _tokens_of(
    row: dict[str, Any],
    number: int,
    tokenizer: Tokenizer,
    options: LossOptions,
    objective: Objective,
) -> dict[str, Any]:
    """Return one row's tokens and what counts of them. Raises _Refused."""
    try:
        return TRAINERS[objective].columns(row, tokenizer, options)
    except RowProblem as problem:
        raise _Refused(number, str(problem)) from None


def _truncation(rows: Any, max_length: int | None, mode: str, field: str) -> Truncation:
    spans = [rows[name] for name in SPANS]
    return truncation(list(zip(*spans, strict=True)), max_length, mode, field)


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
