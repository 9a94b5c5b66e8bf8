"""Files of the kernel, kept open: reading one again costs less than opening it."""

from __future__ import annotations

from io import FileIO
from pathlib import Path


def open_file(path: Path) -> FileIO | None:
    """Open a file of the kernel to be read again and again; None where it is not there."""
    try:
        return path.open("rb", buffering=0)
    except OSError:
        return None


def read_file(file: FileIO | None) -> bytes:
    """All of it as it is now; nothing where it cannot be read."""
    if file is None:
        return b""
    try:
        file.seek(0)
        return file.read() or b""
    except OSError:
        return b""


def whole_number(text: bytes) -> int | None:
    """The number a file consists of."""
    text = text.strip()
    return int(text) if text.isdigit() else None


def pick(text: bytes, names: tuple[str, ...], after: bytes) -> dict[str, int]:
    """The first number on the lines that begin with these names; searching beats splitting."""
    text = b"\n" + text
    found = {}
    for name in names:
        start = text.find(b"\n" + name.encode() + after)
        if start < 0:
            continue
        words = text[start + len(name) + 2 : start + len(name) + 66].split(None, 1)
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found
