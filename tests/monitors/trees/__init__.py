"""Recorded trees of kernel files, built anew in a folder of the test."""

from __future__ import annotations

from pathlib import Path


def build(name: str, root: Path) -> Path:
    """Write a tree below `root`; gives that folder."""
    for line in Path(__file__).with_name(f"{name}.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        path, _, rest = line.partition(" ")
        sign, _, value = rest.partition(" ")
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if sign == "->":
            target.symlink_to(value)
        else:
            target.write_text(value.replace("|", "\n") + "\n")
    return root
