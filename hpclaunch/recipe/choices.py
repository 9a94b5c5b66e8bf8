"""Values of `training` fields that are one of a few words, as Transformers and TRL have them.

`field_choices.json` is made from the installed Transformers by hpclaunch/train/config_fields.py.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hpclaunch.shipped import shipped

OF_TRL = {
    "packing_strategy": ("bfd", "bfd_split", "wrapped"),
    "truncation_mode": ("keep_start", "keep_end"),
}
"""Fields that TRL's configs declare as any text, and its trainers take so."""


@cache
def field_choices() -> dict[str, list[str]]:
    """Return the words that each field takes which takes no other text."""
    named: dict[str, list[str]] = json.loads(shipped("recipe", "field_choices.json").read_bytes())
    return {**named, **{field: list(words) for field, words in OF_TRL.items()}}


def no_choice(field: str, value: Any) -> list[str] | None:
    """Return the words that a field takes where a value is none of them; None where it is one."""
    words = field_choices().get(field)
    return None if words is None or value is None or value in words else words
