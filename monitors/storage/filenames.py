"""Names of the files a node's record is kept in."""

from __future__ import annotations

from pathlib import Path

SAMPLES = ".samples.jsonl"
"""The journal: what came last, a line each."""
BLOCKS = ".samples.blocks"
"""All that came before, packed."""
DMON = ".dmon.txt"
VMSTAT = ".vmstat.txt"
"""Tables that earlier versions wrote beside the samples."""
RANKS = ".ranks.json"
"""What the main threads of its ranks do now; no part of the record."""
SUFFIXES = (SAMPLES, BLOCKS, DMON, VMSTAT)


def path_of(directory: Path, node: str, suffix: str) -> Path:
    """File of one node and one format."""
    return directory / f"{node}{suffix}"


def nodes_in(directory: Path) -> tuple[str, ...]:
    """Every node that left at least one file, in a natural order (n2 before n10)."""
    found = {
        path.name.removesuffix(suffix)
        for path in directory.iterdir()
        for suffix in SUFFIXES
        if path.name.endswith(suffix) and path.name != suffix
    }
    return tuple(sorted(found, key=_natural))


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts: list[tuple[int, int, str]] = []
    digits = text = ""
    for char in [*name, "\0"]:
        is_digit = char.isascii() and char.isdigit()
        if text and is_digit:
            parts.append((1, 0, text))
            text = ""
        if digits and not is_digit:
            parts.append((0, int(digits), digits))
            digits = ""
        if is_digit:
            digits += char
        else:
            text += char
    return [*parts, (1, 0, text)]
