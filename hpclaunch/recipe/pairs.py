"""Rows of a question and one answer, as training takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpclaunch.recipe.tools import RowProblem
from hpclaunch.recipe.turns import check_answered, history_of, is_text, turns_of, with_system

WITH_MESSAGES = ("system", "tools", "chat_template_kwargs")
"""Columns that rows of messages may have beside them; a plain text has no place for them."""


def pair_of(row: Mapping[str, Any], wanted: str, *, columnar: bool) -> dict[str, Any]:
    """Return prompt and completion, both texts or both lists of messages. Raises RowProblem."""
    prompt, completion = row.get("prompt"), row.get("completion")
    if isinstance(prompt, str) != isinstance(completion, str):
        raise RowProblem("'prompt' and 'completion' must both be texts, or both lists of messages")
    if isinstance(prompt, str):
        check_plain(row, "prompt and completion", "prompt_completion", wanted)
        if not is_text(completion):
            raise RowProblem("'completion' is empty")
        return {"prompt": prompt, "completion": completion}
    prompt_turns = turns_of(prompt, "prompt", columnar=columnar)
    answer = turns_of(completion, "completion", columnar=columnar)
    check_answered(answer, "completion")
    if any("weight" in turn for turn in answer):
        raise RowProblem("'completion' has messages of weight 0; write the row as messages")
    others = [turn["role"] for turn in answer if turn["role"] != "assistant"]
    if others:
        raise RowProblem(
            f"'completion' has a turn of the role {others[0]}, which would be learnt as an answer "
            "is; end the completion before it, or write the row as messages"
        )
    for turn in prompt_turns:
        turn.pop("weight", None)  # no prompt is learnt
    return {"prompt": with_system(prompt_turns, row.get("system")), "completion": answer}


def check_plain(row: Mapping[str, Any], columns: str, named: str, wanted: str) -> None:
    """Raise RowProblem where a row of texts has a column that only messages can use.

    `named`: the `data.format` that leaves such a column out.
    """
    unused = [name for name in WITH_MESSAGES if row.get(name)]
    if unused and wanted == "auto":
        raise RowProblem(
            f"has a column '{unused[0]}', which plain texts cannot use; write {columns} as lists "
            f"of messages, or set data.format: {named} to train without it"
        )


def alpaca_of(row: Mapping[str, Any], *, chat: bool) -> dict[str, Any]:
    """Return Alpaca's instruction and output as turns; without a chat template as plain text.

    Raises RowProblem.
    """
    for name in ("instruction", "output"):
        if not is_text(row.get(name)):
            raise RowProblem(f"'{name}' is empty or no text")
    question = row["instruction"].strip()
    if is_text(row.get("input")):
        question += "\n\n" + row["input"].strip()
    if not chat:
        unused = [name for name in (*WITH_MESSAGES, "history") if row.get(name)]
        if unused:
            raise RowProblem(
                f"has a column '{unused[0]}', which needs a chat template; use an Instruct model, "
                "or name one's template by training.chat_template_path"
            )
        return {"prompt": question + "\n\n", "completion": row["output"]}
    question_turns = [{"role": "user", "content": question}]
    answer = [{"role": "assistant", "content": row["output"]}]
    if "history" in row:  # its answers are learnt as the last one is
        turns = [*history_of(row["history"]), *question_turns, *answer]
        return {"messages": with_system(turns, row.get("system"))}
    return {"prompt": with_system(question_turns, row.get("system")), "completion": answer}
