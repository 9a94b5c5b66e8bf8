"""Names of files and columns in messages: a few of many, as they can be shown."""

from __future__ import annotations

from collections.abc import Iterable

from hpclaunch.errors import printable

MOST_CHARACTERS = 80
"""Characters of a name that are shown."""


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return the first names, and how many more there are."""
    shown = [printable(name) or "(no name)" for name in names]
    cut = [
        name if len(name) <= MOST_CHARACTERS else name[:MOST_CHARACTERS] + "..." for name in shown
    ]
    text = ", ".join(cut[:most])
    return text if len(cut) <= most else f"{text} and {len(cut) - most:,} more"
