"""The reasoning before answers, as messages have it and as chat templates write it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

KEYS = ("reasoning_content", "thinking", "reasoning")
"""What messages call the reasoning before an answer."""
_WITHIN = re.compile(r"<think>(.+?)</think>", re.DOTALL)
_EMPTY = re.compile(r"<think>\s*</think>\s*<think>")


def reasoning_of(turn: Mapping[str, Any]) -> str:
    """Return a message's reasoning, under its own key or in the content; '' where it has none."""
    own = next((str(turn[key]).strip() for key in KEYS if turn.get(key)), "")
    found = _WITHIN.search(str(turn.get("content") or "")) if turn["role"] == "assistant" else None
    return own or (found.group(1).strip() if found else "")


def reasonings(turns: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str, bool]]:
    """Yield the number of each message with reasoning, that, and whether a user speaks later."""
    last_user = max((n for n, turn in enumerate(turns, 1) if turn["role"] == "user"), default=0)
    for number, turn in enumerate(turns, 1):
        if reasoning := reasoning_of(turn):
            yield number, reasoning, number < last_user


def is_doubled(text: str, turns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a template wrote an empty reasoning before one that stands in a content."""
    return bool(_EMPTY.search(text)) and not any(
        _EMPTY.search(str(turn.get("content") or "")) for turn in turns
    )
