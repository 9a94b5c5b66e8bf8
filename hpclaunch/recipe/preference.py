"""Rows of another objective than the recipe's: what they are, what takes them, what to do."""

from __future__ import annotations

from typing import Any

from hpclaunch.recipe.objectives import OBJECTIVES, Objective

PREFERENCE = {
    "chosen": "pairs of a chosen and a rejected answer",
    "rejected": "pairs of a chosen and a rejected answer",
    "label": "answers labelled good or bad",
    "kto_tag": "answers labelled good or bad",
    "labels": "answers with a label for each step",
}
"""Columns of data for other objectives than SFT, and what such rows are."""

TRAINERS = {
    "chosen": "DPO",
    "rejected": "DPO",
    "label": "KTO",
    "kto_tag": "KTO",
    "labels": "a process reward model (PRM)",
}
"""The objective that would take such rows."""

FIXES = {
    "DPO": "set method.objective: dpo, or write each prompt and its chosen answer as prompt and "
    "completion",
    "KTO": "set method.objective: kto, or keep the rows with good answers and take the column out",
    "a process reward model (PRM)": "write prompt and completion",
}
"""What makes rows for SFT of them."""


SINGLE = {"messages", "conversations", "completion", "output"}
"""Columns of rows with one answer, which nobody has labelled."""


def other_objective(have: set[str], objective: Objective) -> tuple[str, str, str] | None:
    """Return what rows with these columns are, what takes them and how to train on them."""
    shapes = OBJECTIVES[objective].shapes
    if "prompt_completion" in shapes:
        return _other_than_sft(have)
    wanted = "set method.objective: "
    found = None
    if {"chosen", "rejected"} <= have:
        fix = f"{wanted}dpo"
        if "unpaired" in shapes:
            fix += ", or write a row for each answer: prompt, completion, label"
        found = PREFERENCE["chosen"], "DPO", fix
    elif "unpaired" in shapes and "kto_tag" in have:
        fix = "rename kto_tag to label, and write prompt and completion"
        found = "answers labelled in a column kto_tag", "LLaMA-Factory", fix
    elif {"prompt", "completion", "label"} <= have:
        found = PREFERENCE["label"], "KTO", f"{wanted}kto"
    elif "prompt" in have and not have & SINGLE:
        found = "prompts without an answer", "GRPO", f"{wanted}grpo"
    elif have & SINGLE:
        found = "answers without a judgement", "SFT", f"{wanted}sft"
    elif "text" in have and "text" not in shapes:
        found = "plain text", "pretraining", f"{wanted}pretrain"
    return found


def _other_than_sft(have: set[str]) -> tuple[str, str, str] | None:
    name = None
    if have & {"chosen", "rejected"}:
        name = "chosen"
    elif {"completions", "labels"} <= have:
        name = "labels"
    elif have & {"label", "kto_tag"} and have & {"prompt", "question", "instruction", "response"}:
        name = "label"
    if name is not None:
        return PREFERENCE[name], TRAINERS[name], FIXES[TRAINERS[name]]
    if "prompt" in have and not have & {"completion", "completions", "response", "answer"}:
        return (
            "prompts without an answer",
            "GRPO",
            "set method.objective: grpo, or add the answers in a column completion",
        )
    return None


def is_verdict(value: Any) -> bool:
    """Return whether a label says good or bad rather than what a row is about."""
    return isinstance(value, bool) or str(value).strip().lower() in {"0", "1", "true", "false"}
