"""Numbers and names in the sentences of findings."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 4


def percent(share: float) -> str:
    """A share from 0 to 1."""
    return f"{100 * share:.0f}%"


def gib(mib: float) -> str:
    """An amount of memory given in MiB."""
    return f"{mib / 1024:.1f} GiB"


def several(names: Sequence[str]) -> str:
    """Names in a sentence; of many, the first and the number of the others."""
    if len(names) > _NAMED:
        return f"{', '.join(names[: _NAMED - 1])} and {len(names) - _NAMED + 1} others"
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last


def sentence(parts: Sequence[str]) -> str:
    """Pieces of evidence as one sentence."""
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."
