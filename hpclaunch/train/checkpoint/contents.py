"""Which files a checkpoint may hold: numbers and text, and none that a library would unpickle.

Transformers and PEFT open `pytorch_model.bin`, `adapter_model.bin` and others where they exist,
whoever put them there.
"""

from __future__ import annotations

import os
from pathlib import Path

_SUFFIXES = {
    ".safetensors", ".json", ".jsonl", ".txt", ".model", ".jinja", ".md", ".tiktoken", ".vocab",
}  # fmt: skip
_FOLDERS = {"pytorch_model_fsdp_0", "optimizer_0", "additional_chat_templates"}


def may_hold(name: str) -> bool:
    """Return whether a checkpoint may hold a file of this name (with `/` between folders)."""
    folder, _, file = name.rpartition("/")
    return Path(file).suffix in _SUFFIXES and folder in {"", *_FOLDERS}


def names(folder: Path) -> list[str]:
    """Return all files and links of a checkpoint but hidden ones, which nothing opens, sorted."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [each for each in folders if (Path(place) / each).is_symlink()]
        for file in [*files, *links]:
            name = str((Path(place) / file).relative_to(folder))
            if not file.startswith("."):
                found.append(name)
    return sorted(found)
