"""How much memory is free here: of the machine, or of what a job was given of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

_FILES = {
    "": ("memory.max", "memory.current"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}
"""Limit and use of a control group: of version 2, and of version 1."""


def free_bytes(root: Path = Path("/")) -> int:
    """Return the bytes that can still be taken before the machine or a control group is full.

    A job's limit stands at some group above its processes': each is looked at. Pages of files that
    a group may drop count as free. `root`: of the file system, for tests.
    """
    free = int(psutil.virtual_memory().available)
    return min([free, *_free_of_groups(root)])


def _free_of_groups(root: Path) -> Iterator[int]:
    top = root / "sys/fs/cgroup"
    for controller, own in _folders(root):
        limit_name, use_name = _FILES[controller]
        for folder in (own, *own.parents):
            if folder == top:
                break
            limit, use = _number(folder / limit_name), _number(folder / use_name)
            if limit is not None and use is not None:
                yield max(0, limit - max(0, use - _droppable(folder)))


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Return this process's groups that bound memory, by controller: '' of version 2."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        base = root / "sys/fs/cgroup"
        if number == "0":
            yield "", base / path.lstrip("/")
        elif "memory" in controllers.split(","):
            yield "memory", base / "memory" / path.lstrip("/")


def _droppable(folder: Path) -> int:
    found = dict(
        line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line
    )
    text = found.get("total_inactive_file", found.get("inactive_file", "0"))
    return int(text) if text.isdecimal() else 0


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() and int(text) < 1 << 60 else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
