"""Reward functions that come with the package: `method.grpo.rewards: [builtin:rewards.py:NAME]`.

Also an example of how your own look: a function gets the completions and the data's columns by
name, takes whatever else there is by **kwargs, and returns a number for each completion.
"""

from __future__ import annotations

import re
from typing import Any


def text_of(completion: Any) -> str:
    """Return a completion's text: prompts of messages are answered by a list of messages."""
    if isinstance(completion, str):
        return completion
    return str(completion[-1].get("content") or "")


def shared_words(completions: list[Any], answer: list[str], **kwargs: Any) -> list[float]:
    """Return how alike the words of each completion and of the column `answer` are, from 0 to 1.

    Words in common, over those of either (the Jaccard index).
    """
    rewards = []
    for completion, expected in zip(completions, answer, strict=True):
        words, wanted = _words(text_of(completion)), _words(expected)
        rewards.append(len(words & wanted) / max(1, len(words | wanted)))
    return rewards


def short(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    """Return minus a hundredth for each token of a completion."""
    return [-len(ids) / 100 for ids in completion_ids]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
