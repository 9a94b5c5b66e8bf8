"""Files that a killed process left half downloaded: gone on with where it ended.

huggingface_hub gives each download a file of its own and reads none that another process left, for
locks do not hold on every cluster's file system (its pull request 4228).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

from hpclaunch.run.regular_file import create_regular
from hpclaunch.train.fetch.listing import HubFile, Listing

IDLE_S = 60.0
"""Seconds after which a part that nobody writes to is one that a process left."""


def complete_parts(listing: Listing) -> None:
    """Bring what is missing of each half downloaded file, and put it where the library finds it.

    Only where its digest is the hub's; else the part is removed, and the library begins anew.
    Raises what the library raises.
    """
    for file in listing.missing():
        if file.sha256 and not (blob := listing.storage / "blobs" / file.blob).exists():
            taken = _take(blob, file)
            if taken is not None:
                _complete(listing, file, taken, blob)


def _take(blob: Path, file: HubFile) -> Path | None:
    """Return the largest part of a file under a name of this process's own; None: there is none.

    Of several processes that want it one can rename it.
    """
    for part in sorted(_parts(blob, file), key=lambda each: -each[0]):
        own = blob.with_name(f"{file.blob}.{uuid.uuid4().hex[:8]}.incomplete")
        with contextlib.suppress(OSError):
            part[1].rename(own)
            return own
    return None


def _parts(blob: Path, file: HubFile) -> Iterator[tuple[int, Path]]:
    """Return the parts of a file that nobody writes to, with their bytes."""
    with contextlib.suppress(OSError):
        for path in blob.parent.glob(f"{file.blob}.*incomplete"):
            state = path.lstat()
            whole = state.st_blocks * 512 >= state.st_size  # no part of it was left out
            idle = time.time() - state.st_mtime > IDLE_S
            if S_ISREG(state.st_mode) and whole and idle and 0 < state.st_size <= file.bytes:
                yield state.st_size, path


def _complete(listing: Listing, file: HubFile, part: Path, blob: Path) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    item = listing.item
    url = hf_hub_url(item.name, file.path, repo_type=item.repo_type, revision=listing.commit)
    held = part.stat().st_size
    try:
        if held < file.bytes:
            found = get_hf_file_metadata(url)
            # The token is not for the storage that the hub hands over to.
            headers = build_hf_headers() if found.location == url else build_hf_headers(token=False)
            # Others may write to a hub cache that a group shares.
            with os.fdopen(create_regular(part, os.O_WRONLY | os.O_APPEND), "ab") as stream:
                http_get(
                    found.location,
                    stream,
                    resume_size=held,
                    headers=headers,
                    expected_size=file.bytes,
                )
    except BaseException:
        with contextlib.suppress(OSError):
            os.utime(part, (0, 0))  # the next attempt need not wait to go on
        raise
    with part.open("rb") as stream:
        right = hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    if right:
        part.replace(blob)
    else:
        part.unlink()
