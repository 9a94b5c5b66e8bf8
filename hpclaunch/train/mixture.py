"""The rows of all datasets that a recipe trains on: each by itself, then mixed as tokens.

Each dataset has its own shape and loss, so each is tokenized by itself. Which rows are held out,
and how they are mixed, follows from `data.seed` and the tokens alone: every rank makes the same,
however many there are, and so does a run that goes on.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from hpclaunch.chat.truncation import Truncation
from hpclaunch.dataset.sources import validation_data
from hpclaunch.errors import UserError
from hpclaunch.recipe.mixture import Part, parts_of
from hpclaunch.recipe.schema import Data, Objective, Recipe
from hpclaunch.train import data as one
from hpclaunch.train import draws, template
from hpclaunch.train.data import Rows
from hpclaunch.train.tokenize import Tokenized, masks_assistant, tokenize_rows


@dataclass(frozen=True)
class MixedRows:
    """The rows of every dataset, before they are tokenized."""

    data: Data
    parts: tuple[tuple[Part, Rows], ...]
    held_out: Rows | None
    """Rows of `data.validation` where several datasets are trained on."""

    @property
    def messages(self) -> bool:
        """Whether some rows are whole conversations."""
        return any(rows.messages for _, rows in self.parts)

    @property
    def columns_left_out(self) -> tuple[str, ...]:
        """Columns of the training data that training does not use."""
        return tuple(dict.fromkeys(c for _, rows in self.parts for c in rows.columns_left_out))

    @property
    def validates(self) -> bool:
        """Whether there are rows to validate on."""
        return self.data.validation_fraction is not None or self.held_out is not None


def load_rows(data: Data, objective: Objective, *, chat: bool, check: bool) -> Rows | MixedRows:
    """Return the rows of a recipe: of one dataset as they are, of several each by itself.

    The options are those of `data.load_rows`. Raises UserError.
    """
    if not data.sources and data.validation_fraction is None:
        return one.load_rows(data, objective, chat=chat, check=check)
    parts = tuple(
        (part, one.load_rows(part.data, objective, chat=chat, check=check))
        for part in parts_of(data)
    )
    named = validation_data(data) if data.sources else None
    held_out = None
    if named is not None:
        held_out = one.load_rows(named, objective, chat=chat, check=check)
    return MixedRows(data, parts, held_out)


def validates(rows: Any) -> bool:
    """Whether a recipe's rows, prepared ones too, have some to validate on."""
    return rows.validates if isinstance(rows, MixedRows) else rows.validation is not None


def tokenize(
    rows: Rows | MixedRows, recipe: Recipe, tokenizer: Any, arguments: Any
) -> tuple[Tokenized, Rows]:
    """Return the rows as tokens, mixed, and the rows that they are of.

    `tokenizer`: Transformers' own. `arguments`: TRL's config. Raises UserError.
    """
    if isinstance(rows, Rows):
        tokenized = _tokenized(rows, recipe.data.title, recipe, tokenizer, arguments)
        used = draws.use_of(Part(recipe.data), tokenized.train, tokenized.train)
        return _with_use(tokenized, (used,)), rows
    mixed = _mix(rows, recipe, tokenizer, arguments)
    return mixed, Rows(
        mixed.train,
        mixed.validation,
        rows.messages,
        any(part.chat for _, part in rows.parts),
        rows.columns_left_out,
    )


def _tokenized(rows: Rows, title: str, recipe: Recipe, tokenizer: Any, arguments: Any) -> Tokenized:
    """Return one dataset's rows as tokens: which are learnt depends on its own shape."""
    masked = masks_assistant(arguments, rows)
    if masked and not (rows.messages or recipe.training.get("assistant_only_loss")):
        # Another dataset holds whole conversations, and set it for all.
        arguments, masked = copy.copy(arguments), False
        arguments.assistant_only_loss = False
    tokens = template.token_source(tokenizer, assistant_only=masked)
    prompts = None
    if recipe.objective_spec.writes_completions:
        prompts = recipe.method.grpo.max_prompt_length
    return tokenize_rows(rows, title, tokens, arguments, recipe.objective, prompts)


def _mix(rows: MixedRows, recipe: Recipe, tokenizer: Any, arguments: Any) -> Tokenized:
    data = rows.data
    parts = [
        (part, _tokenized(each, part.data.name, recipe, tokenizer, arguments))
        for part, each in rows.parts
    ]
    split = draws.hold_out(data, [tokenized.train for _, tokenized in parts])
    used, taken = [], []
    for number, ((part, tokenized), (kept, validation)) in enumerate(
        zip(parts, split, strict=True)
    ):
        drawn = draws.weighted(kept, part.weight, [data.seed, number, 1])
        if len(drawn) == 0:
            raise UserError(
                f"data.sources: weight {part.weight:g} of the {len(kept):,} rows of "
                f"{part.data.name} takes none",
                "raise its weight, or take it out",
            )
        taken.append(drawn)
        used.append(draws.use_of(part, tokenized.train, drawn, validation))
    validation = draws.joined([held for _, held in split if held is not None])
    if rows.held_out is not None:
        named = _tokenized(rows.held_out, str(data.validation), recipe, tokenizer, arguments)
        validation = named.train
    train = draws.joined(taken)
    if len(parts) > 1 or parts[0][0].weight != 1:
        train = draws.shuffled(train, [data.seed, len(parts), 2])
    lost = _all_lost([tokenized.truncation for _, tokenized in parts])
    return Tokenized(train, validation, lost, tuple(used))


def _with_use(tokenized: Tokenized, used: tuple[dict[str, Any], ...]) -> Tokenized:
    return Tokenized(tokenized.train, tokenized.validation, tokenized.truncation, used)


def _all_lost(parts: list[Truncation]) -> Truncation:
    """Return what all datasets together lose to max_length."""
    return Truncation(
        parts[0].max_length,
        sum(part.samples for part in parts),
        sum(part.lost for part in parts),
        sum(part.cut for part in parts),
        max(part.needed_length for part in parts),
        parts[0].field,
    )
