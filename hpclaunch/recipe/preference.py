"""Rows for other objectives than SFT: what they are, what takes them, what makes rows for SFT."""

from __future__ import annotations

from typing import Any

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
    "DPO": "write each prompt and its chosen answer as prompt and completion",
    "KTO": "keep the rows with good answers, and take the column out",
    "a process reward model (PRM)": "write prompt and completion",
}
"""What makes rows for SFT of them."""


def other_objective(have: set[str]) -> tuple[str, str, str] | None:
    """Return what rows with these columns are, what takes them and what makes rows for SFT."""
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
        return "prompts without an answer", "GRPO", "add the answers in a column completion"
    return None


def is_verdict(value: Any) -> bool:
    """Return whether a label says good or bad rather than what a row is about."""
    return isinstance(value, bool) or str(value).strip().lower() in {"0", "1", "true", "false"}
