"""What a recipe's data and tokenizer are, by content: digests of files and of hub revisions."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpclaunch.chat.hub_cache import snapshot
from hpclaunch.recipe.paths import is_local
from hpclaunch.shipped import shipped
from hpclaunch.train.hub import offline

LARGE = 2**26
"""Bytes from which a file's digest is remembered while its size and time stay the same."""
MOST_FILES = 10_000
"""Files of a folder of data beyond which nothing is kept."""
TOKENIZER_FILES = (
    "config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*",
    "merges.txt", "chat_template*", "*.jinja", "*.model", "*.tiktoken",
)  # fmt: skip
"""Files of a model that bear on its tokens, or on whether its samples are packed."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
"""Name of a large file in the hub's cache."""


class UnknownContentError(Exception):
    """What the data is cannot be told without loading it."""


class Contents:
    """Digests of files and datasets; those of large files are kept in a folder of the cache."""

    def __init__(self, kept: Path) -> None:
        self._kept = kept

    def data(self, name: str, revision: str | None) -> str:
        """Return what a dataset holds, in a text. Raises UnknownContentError, OSError."""
        if name.startswith("builtin:"):
            return name  # its files are a part of hpclaunch, whose sources count
        path = Path(name)
        if is_local(name) or path.exists():
            return self._path(path)
        return f"{name}@{self._commit(name, revision)}"

    def tokenizer(self, name: str, revision: str | None) -> str:
        """Return what a model's tokenizer is. Raises UnknownContentError, OSError."""
        folder: Path | None = Path(name)
        if name.startswith("builtin:"):
            folder = shipped("train", f"{name.removeprefix('builtin:').replace('-', '_')}_model")
        elif not is_local(name) and not Path(name).is_dir():
            folder = snapshot(name, revision, os.environ)
        if folder is None or not folder.is_dir():
            raise UnknownContentError(name)
        found = {path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)}
        return _digest({path.name: self.file(path) for path in found if path.is_file()})

    def file(self, path: Path) -> str:
        """Return a file's SHA-256. Raises OSError."""
        large, memo = path.stat().st_size >= LARGE, self._memo(path)
        if large:
            with contextlib.suppress(OSError, ValueError, KeyError):
                return str(json.loads(memo.read_text("utf-8"))["sha256"])
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if large:
            self._keep(memo, {"sha256": digest})
        return digest

    def weights(self, path: Path) -> str:
        """Return the SHA-256 of a file of weights; of one from the hub, by its name in the cache.

        Raises OSError.
        """
        real = path.resolve()
        if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
            return real.name
        return self.file(path)

    def remember(self, path: Path, digest: str) -> None:
        """Keep the SHA-256 of a large file that was hashed elsewhere. Raises OSError."""
        if path.stat().st_size >= LARGE:
            self._keep(self._memo(path), {"sha256": digest})

    def _memo(self, path: Path) -> Path:
        found = path.stat()
        state = [str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ino]
        return self._kept / f"{_digest(state)}.json"

    def _path(self, path: Path) -> str:
        if path.is_file():
            return _digest([path.suffixes, self.file(path)])
        files = []
        for each in sorted(_files(path)):
            files.append([str(each.relative_to(path)), self.file(each)])
            if len(files) > MOST_FILES:
                raise UnknownContentError(f"{path} has more than {MOST_FILES:,} files")
        if not files:
            raise UnknownContentError(f"{path} has no files")
        return _digest(files)

    def _commit(self, name: str, revision: str | None) -> str:
        """Return the commit of a hub dataset; offline, that of the last start that had the hub."""
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        memo = self._kept / f"{_digest(['dataset', name, revision])}.json"
        if offline():
            try:
                return str(json.loads(memo.read_text("utf-8"))["commit"])
            except (OSError, ValueError, KeyError) as error:
                raise UnknownContentError(name) from error
        from huggingface_hub import HfApi

        try:
            commit = HfApi().dataset_info(name, revision=revision, timeout=10).sha
        except Exception as error:  # whatever the hub's library raises: loading will say it
            raise UnknownContentError(name) from error
        if not commit:
            raise UnknownContentError(name)
        self._keep(memo, {"commit": commit})
        return commit

    def _keep(self, memo: Path, value: Mapping[str, str]) -> None:
        with contextlib.suppress(OSError):
            self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = memo.with_name(f".{memo.name}-{os.getpid()}")
            part.write_text(json.dumps(value), "utf-8")
            part.replace(memo)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files under a folder, links to folders left out, hidden ones too."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in names if not name.startswith("."))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
