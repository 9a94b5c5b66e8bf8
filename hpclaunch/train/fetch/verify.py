"""Downloaded files held against the hub's digests, once each."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hpclaunch.train.fetch.listing import HubFile, Listing

PIECE_BYTES = 1 << 22


class VerifiedFiles:
    """Which files of a repository's cache had the right digest, by size and time of change.

    Kept beside hpclaunch's own cache, so that 141 GB are read once and not at every call.
    """

    def __init__(self, listing: Listing) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        digest = hashlib.sha256(str(listing.storage).encode()).hexdigest()[:24]
        self._file = Path(base).expanduser() / "hpclaunch" / "verified" / f"{digest}.json"
        try:
            found = json.loads(self._file.read_text("utf-8"))
        except (OSError, ValueError):
            found = {}
        self._known: dict[str, list[int]] = found if isinstance(found, dict) else {}

    def has(self, file: HubFile, path: Path) -> bool:
        """Return whether a file was verified and has not changed since."""
        return self._known.get(file.blob) == _state(path)

    def add(self, file: HubFile, path: Path) -> None:
        """Keep that a file has the right digest; where that cannot be written, do without."""
        self._known[file.blob] = _state(path)
        written = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(self._known), "utf-8")
            written.replace(self._file)
        except OSError:
            written.unlink(missing_ok=True)


def damaged_files(listing: Listing, progress: Callable[[int], None]) -> tuple[HubFile, ...]:
    """Return the files in the cache whose size or digest is not the hub's.

    `progress` is called with the bytes that were read so far.
    """
    verified = VerifiedFiles(listing)
    damaged = []
    read = 0
    for file in listing.files:
        path = listing.folder / file.path
        if verified.has(file, path):
            read += file.bytes
            progress(read)
            continue
        counted = partial(_count, progress, read)
        same_size = path.stat().st_size == file.bytes
        right = same_size and _digest(file, path, counted) in {file.blob, None}
        read += file.bytes
        if right:
            verified.add(file, path)
        else:
            damaged.append(file)
    return tuple(damaged)


def _count(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def remove(listing: Listing, file: HubFile) -> None:
    """Take a damaged file out of the cache, with the blob that it links to."""
    path = listing.folder / file.path
    blob = path.resolve()
    path.unlink(missing_ok=True)
    if blob.parent == (listing.storage / "blobs").resolve():
        blob.unlink(missing_ok=True)


def _state(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _digest(file: HubFile, path: Path, progress: Callable[[int], None]) -> str | None:
    """Return SHA-256 of a file in large file storage, Git's digest of another; None: not known."""
    if file.sha256:
        digest = hashlib.sha256()
    elif file.git_sha1:
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(f"blob {file.bytes}\0".encode())
    else:
        return None
    done = 0
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            digest.update(piece)
            done += len(piece)
            progress(done)
    return digest.hexdigest()
