"""Files of a repository brought into the hub's cache: again after a cut, and verified."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from hpclaunch.errors import UserError
from hpclaunch.train.fetch.listing import HubFile, Listing, patterns_of
from hpclaunch.train.fetch.parts import complete_parts
from hpclaunch.train.fetch.patience import ATTEMPTS, WAIT_S, may_pass, seconds_to_wait
from hpclaunch.train.fetch.verify import damaged_files, remove
from hpclaunch.train.hub import explain

REFRESH_S = 0.5
WORKERS = 8
STALE_S = 3600.0
"""Seconds after which a part of a file that nobody writes to is what a killed process left."""

Progress = Callable[[str, int, int], None]
"""Called with what is done now, and how many bytes of how many."""


def download(listing: Listing, progress: Progress, wait_s: float = WAIT_S) -> None:
    """Bring all files of a listing into the cache and verify them. Raises UserError.

    A file that has another digest than the hub's is downloaded a second time.
    """
    _remove_stale_parts(listing, {file.blob for file in listing.missing()})
    _download_missing(listing, progress, wait_s)
    _remove_stale_parts(listing, set())
    damaged = _verify(listing, progress)
    if damaged:
        for file in damaged:
            remove(listing, file)
        _download_missing(listing, progress, wait_s)
        damaged = _verify(listing, progress)
    if damaged:
        names = ", ".join(file.path for file in damaged[:3])
        for file in damaged:
            remove(listing, file)
        raise UserError(
            f"{listing.item.kind} {listing.item.name}: {names} came twice with other contents than "
            "the hub lists",
            "run it again; if it stays so, a proxy or a mirror changes the files",
        )


def _verify(listing: Listing, progress: Progress) -> tuple[HubFile, ...]:
    total = listing.bytes
    return damaged_files(listing, lambda done: progress("verifying", done, total))


def _download_missing(listing: Listing, progress: Progress, wait_s: float) -> None:
    item = listing.item
    fruitless = 0
    # Once in any case for the name of a revision, by which offline jobs find the files.
    unnamed = item.kind != "dataset"
    with _reporting(listing, progress):
        while unnamed or listing.missing():
            before = listing.bytes_here()
            try:
                with explain(item.kind, item.name):
                    complete_parts(listing)
                    _download(listing)
                unnamed = False
                if listing.missing():
                    raise UserError(
                        f"{item.kind} {item.name} changed while it was downloaded", "run it again"
                    )
            except UserError as error:
                fruitless = 0 if listing.bytes_here() > before else fruitless + 1
                if fruitless >= ATTEMPTS or not may_pass(error):
                    raise
                time.sleep(seconds_to_wait(error, fruitless, wait_s))


def _download(listing: Listing) -> None:
    from huggingface_hub import hf_hub_download, snapshot_download

    item = listing.item
    if item.kind != "dataset":
        wanted, unwanted = patterns_of(item)
        # By the name of its revision, which jobs look it up by when they are offline.
        snapshot_download(
            item.name,
            revision=item.revision,
            allow_patterns=list(wanted),
            ignore_patterns=list(unwanted) or None,
            max_workers=WORKERS,
        )
        return

    def one(file: HubFile) -> None:
        hf_hub_download(item.name, file.path, repo_type=item.repo_type, revision=listing.commit)

    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(one, listing.missing()):
            pass


@contextmanager
def _reporting(listing: Listing, progress: Progress) -> Iterator[None]:
    """Report twice a second how many bytes are there: whatever way the library takes them."""
    ended = threading.Event()
    since, total = time.time(), listing.bytes

    def report() -> None:
        while not ended.wait(REFRESH_S):
            progress("downloading", listing.bytes_here(since), total)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        progress("downloading", listing.bytes_here(since), total)


def _remove_stale_parts(listing: Listing, kept: Collection[str]) -> None:
    """Remove parts of files that a killed process left, but for those of the blobs in `kept`."""
    with contextlib.suppress(OSError):
        for part in (listing.storage / "blobs").glob("*.incomplete"):
            stale = part.name.partition(".")[0] not in kept
            if stale and time.time() - part.stat().st_mtime > STALE_S:
                part.unlink()
