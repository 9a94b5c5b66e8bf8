"""A folder of this user's that keeps what a start has made: entries by key, complete or not there.

Arrow files, safetensors and JSON, so that reading runs no code. An entry is written beside its
place and renamed into it; its files' sizes and SHA-256 digests are in its `meta.json`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpclaunch.frozen import frozen
from hpclaunch.run.regular_file import open_regular, read_regular

META, VERSION = "meta.json", 1
PREPARED, QUANTIZED = "prepared", "quantized"
"""Kinds of entries: tokenized rows, and 4-bit weights."""
MOST_META = 2**24
"""Bytes of a `meta.json` at most."""
UNUSED_DAYS = 60
"""Days after which an entry that no start has read is removed."""
OTHERS = stat.S_IWGRP | stat.S_IWOTH


class BrokenEntryError(Exception):
    """An entry whose files are not what was written."""


def cache_root(environment: Mapping[str, str]) -> Path:
    """Return the folder: in the hub library's where that is set, else in the user's cache."""
    if environment.get("HPCLAUNCH_CACHE"):
        return Path(environment["HPCLAUNCH_CACHE"]).expanduser()
    base = environment.get("HF_HOME") or environment.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "hpclaunch"
    # A group may share the hub's folder: then each has one of their own.
    return folder if _private(folder) is not False else folder.with_name(f"hpclaunch-{os.getuid()}")


def _private(folder: Path) -> bool | None:
    """Return whether only this user can write a folder; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    ours = found.st_uid == os.geteuid() and not found.st_mode & OTHERS
    return stat.S_ISDIR(found.st_mode) and ours


class ContentCache:
    """Entries of one kind in a folder that only this user can write."""

    def __init__(self, root: Path, kind: str = PREPARED) -> None:
        self.root = root
        self.entries = root / kind

    def open(self) -> bool:
        """Make the folder; return whether it is there and this user's alone."""
        try:
            for folder in (self.root, self.entries):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            return False
        return bool(_private(self.root) and _private(self.entries))

    def entry(self, key: str) -> Path:
        """Return the folder of an entry, whether it is there or not."""
        return self.entries / key

    def read(
        self,
        key: str,
        *,
        digests: bool,
        digest_of: Callable[[Path], str] | None = None,
    ) -> dict[str, Any] | None:
        """Return what `meta.json` of an entry says, None where there is no entry.

        `digests`: hash its files, too, and not only compare their sizes, by `digest_of` where there
        is one. Raises BrokenEntryError.
        """
        entry = self.entry(key)
        if not entry.is_dir():
            return None
        hashed = (digest_of or sha256) if digests else None
        try:
            meta = json.loads(read_regular(entry / META, MOST_META))
            if meta["version"] != VERSION or meta["key"] != key:
                raise BrokenEntryError(f"{META} is of another entry")
            for name, (size, digest) in meta["files"].items():
                self._check(entry, str(name), size, digest, hashed)
            facts = meta["facts"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenEntryError(str(error)) from error
        if not isinstance(facts, dict):
            raise BrokenEntryError(f"{META} has no facts")
        with contextlib.suppress(OSError):
            os.utime(entry / META)
        return facts

    @staticmethod
    def _check(
        entry: Path, name: str, size: int, digest: str, hashed: Callable[[Path], str] | None
    ) -> None:
        path = entry / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise BrokenEntryError(f"{name} lies elsewhere")
        if path.lstat().st_size != size:
            raise BrokenEntryError(f"{name} has another size")
        if hashed is not None and hashed(path) != digest:
            raise BrokenEntryError(f"{name} has other content")

    def publish(self, key: str, fill: Callable[[Path], dict[str, Any]]) -> None:
        """Write an entry: `fill` writes its files into a folder and returns its facts.

        Raises OSError. An entry that another start wrote meanwhile stays.
        """
        making = self.begin(key)
        try:
            facts = fill(making)
            files = {
                str(path.relative_to(making)): (path.stat().st_size, sha256(path))
                for path in sorted(making.rglob("*"))
                if path.is_file()
            }
            self.finish(key, making, facts, files)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def begin(self, key: str) -> Path:
        """Return a new folder for an entry's files. Raises OSError."""
        self._remove_unused()
        making = self.entries / f".making-{key}-{os.getpid()}-{os.urandom(4).hex()}"
        making.mkdir(mode=0o700)
        return making

    def finish(
        self, key: str, making: Path, facts: dict[str, Any], files: Mapping[str, tuple[int, str]]
    ) -> None:
        """Make a folder from `begin` the entry, unless another start has made it meanwhile.

        `files`: sizes and digests. Raises OSError.
        """
        meta = {"version": VERSION, "key": key, "files": files, "facts": facts}
        (making / META).write_text(json.dumps(meta), "utf-8")
        try:
            making.rename(self.entry(key))
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise

    def discard(self, key: str) -> None:
        """Remove an entry, so that it is made anew."""
        away = self.entries / f".broken-{key}-{os.urandom(4).hex()}"
        with contextlib.suppress(OSError):
            self.entry(key).rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def accepted(self, key: str, request: str) -> bool:
        """Return whether a request (a digest) was checked with this entry, and passed."""
        return (self.entry(key) / "accepted" / request).is_file()

    def accept(self, key: str, request: str) -> None:
        """Note that a request passed all checks with this entry."""
        with contextlib.suppress(OSError):
            (self.entry(key) / "accepted").mkdir(mode=0o700, exist_ok=True)
            (self.entry(key) / "accepted" / request).touch()

    def _remove_unused(self) -> None:
        oldest = time.time() - UNUSED_DAYS * 86400
        for entry in self.entries.iterdir():
            try:
                used = (entry if entry.name.startswith(".") else entry / META).stat().st_mtime
            except OSError:
                continue
            if used < oldest:
                shutil.rmtree(entry, ignore_errors=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a plain file's bytes. Raises OSError."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@frozen
class KeptEntry:
    """What `hpclaunch ls --cache` says of an entry."""

    kind: str
    """`prepared` (tokenized rows) or `quantized` (4-bit weights)."""
    what: str
    """The model of 4-bit weights; the number of rows."""
    bytes: int
    """Of its files."""
    used: float
    """When a start last read it, in seconds since 1970."""
    folder: Path


def kept_entries(root: Path) -> list[KeptEntry]:
    """Return what a cache holds, the newest first; what is being written or damaged is left out."""
    found = []
    for kind in (PREPARED, QUANTIZED):
        for meta in (root / kind).glob(f"[!.]*/{META}"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                document = json.loads(read_regular(meta, MOST_META))
                facts = document["facts"]
                what = facts["model"] if kind == QUANTIZED else f"{int(facts['samples']):,} samples"
                total = sum(int(each) for each, _ in document["files"].values())
                used = meta.stat().st_mtime
                found.append(KeptEntry(kind, str(what), total, used, meta.parent))
    return sorted(found, key=lambda entry: -entry.used)
