"""Two rewards for answers to sums: the right number, and few words."""

from __future__ import annotations

import re
from typing import Any


def right(completions: list[Any], answer: list[int], **kwargs: Any) -> list[float]:
    """Return 1 where the last number of a completion is the row's `answer`, else 0."""
    numbers = [re.findall(r"-?\d+", _text(each)) for each in completions]
    pairs = zip(numbers, answer, strict=True)
    return [float(found[-1:] == [str(wanted)]) for found, wanted in pairs]


def brief(completions: list[Any], **kwargs: Any) -> list[float]:
    """Return minus a hundredth for each word."""
    return [-len(_text(each).split()) / 100 for each in completions]


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]
