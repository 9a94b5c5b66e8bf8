"""What the hub has of a repository, and what of it is in the cache. Nothing is downloaded."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpclaunch.errors import UserError
from hpclaunch.train.hub import explain

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
UNWANTED = ("original/*", "consolidated*", "onnx/*", "*.gguf")
"""A hub model's files: what training reads, and other forms of the same weights."""

KERNELS = "kernels-community/"
"""Owner of the hub's attention kernels."""

Kind = Literal["model", "dataset", "kernel"]


@dataclass(frozen=True)
class Item:
    """A repository of which something is needed."""

    kind: Kind
    name: str
    revision: str | None = None
    subset: str | None = None
    """Configuration of a dataset."""

    @property
    def repo_type(self) -> str:
        """The hub's word for it."""
        return "dataset" if self.kind == "dataset" else "model"


@dataclass(frozen=True)
class HubFile:
    """A file of a repository."""

    path: str
    bytes: int
    sha256: str | None
    """Of a file in large file storage."""
    git_sha1: str | None
    """Git's digest of any other file."""

    @property
    def blob(self) -> str:
        """Its name in the cache's folder of blobs."""
        return self.sha256 or self.git_sha1 or ""


@dataclass(frozen=True)
class Listing:
    """The files that are needed of a repository, at one commit."""

    item: Item
    commit: str
    files: tuple[HubFile, ...]
    prepared_bytes: int = 0
    """What a dataset's rows take beside its files, in the cache of `datasets`."""

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def storage(self) -> Path:
        """Its folder in the hub's cache."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        folder = repo_folder_name(repo_id=self.item.name, repo_type=self.item.repo_type)
        return Path(constants.HF_HUB_CACHE) / folder

    @property
    def folder(self) -> Path:
        """Its snapshot in the hub's cache."""
        return self.storage / "snapshots" / self.commit

    def missing(self) -> tuple[HubFile, ...]:
        """Return the files that are not in the cache, or have another size there."""
        return tuple(file for file in self.files if not self._has(file))

    def bytes_here(self, since: float | None = None) -> int:
        """Return the bytes that are in the cache.

        `since`: with those of files that are being downloaded, where they were written to after
        that time (seconds since 1970).
        """
        arriving = {} if since is None else self._arriving(since)
        return sum(
            file.bytes if self._has(file) else min(file.bytes, arriving.get(file.blob, 0))
            for file in self.files
        )

    def _arriving(self, since: float) -> dict[str, int]:
        """Return the bytes of files that are cut short so far, by their blobs' names."""
        found: dict[str, int] = {}
        with contextlib.suppress(OSError):  # no folder yet, or a file that was just renamed
            for entry in os.scandir(self.storage / "blobs"):
                if entry.name.endswith(".incomplete") and (state := entry.stat()).st_mtime >= since:
                    blob = entry.name.partition(".")[0]
                    held = min(state.st_size, state.st_blocks * 512)
                    found[blob] = max(held, found.get(blob, 0))
        return found

    def _has(self, file: HubFile) -> bool:
        try:
            return (self.folder / file.path).stat().st_size == file.bytes
        except OSError:
            return False


def list_files(item: Item) -> Listing:
    """Return the files of a model or of kernels that jobs need. Raises UserError."""
    listing = repository_files(item)
    if item.kind == "kernel":
        return _select(listing, kernel_patterns(), ())
    chosen = _select(listing, WANTED, UNWANTED)
    if not any(file.path.endswith(".safetensors") for file in chosen.files):
        raise no_safetensors(item.name)
    return chosen


def no_safetensors(name: str) -> UserError:
    """Return the error for a model that has other weight files, or none."""
    return UserError(
        f"model {name} has no *.safetensors; other weight files can hold code",
        "take a revision that has them, or convert the model once",
    )


def repository_files(item: Item) -> Listing:
    """Return all files of a repository. Raises UserError."""
    from huggingface_hub import HfApi

    with explain(item.kind, item.name):
        info: Any = HfApi().repo_info(
            item.name, repo_type=item.repo_type, revision=item.revision, files_metadata=True
        )
    files = tuple(
        HubFile(
            path=each.rfilename,
            bytes=int(each.size or 0),
            sha256=each.lfs.sha256 if each.lfs else None,
            git_sha1=each.blob_id,
        )
        for each in info.siblings or ()
    )
    return Listing(item, str(info.sha), files)


def patterns_of(item: Item) -> tuple[Sequence[str], Sequence[str]]:
    """Return which files of a model or of kernels are taken, and which of these are not."""
    return (kernel_patterns(), ()) if item.kind == "kernel" else (WANTED, UNWANTED)


def kernel_patterns() -> tuple[str, ...]:
    """Return the builds of a kernel that fit the installed torch and this kind of machine."""
    from importlib import metadata

    try:
        major, minor = metadata.version("torch").split(".")[:2]
    except metadata.PackageNotFoundError:
        return ("*.json", "build/*")
    machine = platform.machine()
    return ("*.json", f"build/torch{major}{minor}-*{machine}*/*", "build/torch-*/*")


def _select(listing: Listing, wanted: Sequence[str], unwanted: Sequence[str]) -> Listing:
    from huggingface_hub.utils._paths import filter_repo_objects

    files = filter_repo_objects(
        listing.files,
        allow_patterns=list(wanted),
        ignore_patterns=list(unwanted) or None,
        key=lambda file: file.path,
    )
    return Listing(listing.item, listing.commit, tuple(files))
