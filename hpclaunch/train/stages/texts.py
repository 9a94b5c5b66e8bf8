"""Texts of a run's own data, as its model was taught them: to calibrate with, and to measure on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import Source, training_run


def recipe_of(source: Source) -> Recipe | None:
    """Return the recipe of the training behind a source; None where there is none.

    Raises UserError where its data is not there any more.
    """
    if source.run is None:
        return None
    run = training_run(RunFolder.at(source.run))
    return None if run is None else load(str(run.recipe))


def texts(recipe: Recipe, tokenizer: Any, most: int, *, validation: bool) -> list[str]:
    """Return the first rows' texts, with `validation` of the rows to validate on if there are any.

    Of several datasets as many of each. Raises UserError where the data is not there.
    """
    from hpclaunch.dataset.sources import validation_data
    from hpclaunch.recipe.mixture import parts_of
    from hpclaunch.train.data import load_rows

    chat, found = bool(tokenizer.chat_template), []
    named = validation_data(recipe.data) if validation and recipe.data.sources else None
    datasets = [part.data for part in parts_of(recipe.data)] if named is None else [named]
    for number, data in enumerate(datasets):
        rows = load_rows(data, recipe.objective, chat=chat, check=False)
        chosen = rows.validation if validation and rows.validation is not None else rows.train
        share = (most + len(datasets) - 1 - number) // len(datasets)
        for at in range(min(share, len(chosen))):
            found.append(as_text(dict(chosen[at]), tokenizer))
    return [text for text in found if text.strip()]


def as_text(row: Mapping[str, Any], tokenizer: Any) -> str:
    """Return a row as one text: a conversation through the chat template, where there is one."""
    if isinstance(row.get("text"), str):
        return str(row["text"])
    turns = row.get("messages")
    if turns is None:
        prompt, answer = row.get("prompt", ""), row.get("completion", row.get("chosen", ""))
        if isinstance(prompt, str) and isinstance(answer, str):
            return prompt + answer
        turns = [*(prompt or ()), *(answer or ())]
    if tokenizer.chat_template:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    return "\n".join(str(turn.get("content", "")) for turn in turns)


def sample(source: Source, tokenizer: Any, most: int, *, validation: bool) -> tuple[list[str], str]:
    """Return texts of the data behind a source, and why there are none ('' where there are)."""
    try:
        recipe = recipe_of(source)
        if recipe is None:
            return [], "no run's data belongs to this model"
        return texts(recipe, tokenizer, most, validation=validation), ""
    except UserError as error:
        return [], str(error)
