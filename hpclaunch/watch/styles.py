"""The styles of the screen, and text that is safe to print."""

from __future__ import annotations

OLD, BAD, WARN, STRONG, QUIET = "dim", "bold red", "yellow", "bold", "dim"


def clean(text: str) -> str:
    """Return text without what would move the cursor or colour the screen: files hold anything."""
    return "".join(c if c.isprintable() else "?" for c in text)
