"""Rows of a prompt that the model answers itself, and what reward functions get beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpclaunch.recipe.other_names import known_name
from hpclaunch.recipe.pairs import check_plain
from hpclaunch.recipe.tools import RowProblem
from hpclaunch.recipe.turns import is_text, turns_of, with_system

TAKEN = (
    "prompts", "completion", "completions", "completion_ids", "trainer_state", "log_extra",
    "log_metric", "environments", "prompt_ids",
)  # fmt: skip
"""Names that the trainer hands the reward functions, or that it keeps from them."""

NOT_HANDED_ON = ("prompt", "system", "tools", "chat_template_kwargs",
                 "image", "images", "video", "videos", "audio", "audios")  # fmt: skip
"""Columns that are in the prompt, or that training cannot use."""


def prompt_of(row: Mapping[str, Any], wanted: str, *, columnar: bool) -> dict[str, Any]:
    """Return the prompt, a text or messages. Raises RowProblem."""
    for name in TAKEN:
        if name in row:
            raise RowProblem(
                f"has a column '{name}', whose name no reward function could get: rename it, "
                "as to solution"
            )
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        check_plain(row, "the prompt", "prompt", wanted)
        if not is_text(prompt):
            raise RowProblem("'prompt' is empty")
        return {"prompt": prompt}
    turns = turns_of(prompt, "prompt", columnar=columnar)
    if turns[-1]["role"] == "assistant":
        raise RowProblem("'prompt' ends with an answer, which the model is to write itself")
    for turn in turns:
        turn.pop("weight", None)  # no prompt is learnt
    return {"prompt": with_system(turns, row.get("system"))}


def handed_on(columns: Sequence[str]) -> list[str]:
    """Return the columns of such rows that reward functions get, in their order."""
    return [name for name in columns if known_name(name) not in NOT_HANDED_ON]
