"""Prepared rows of a run: found in the cache, put there, and named in the run folder for ranks."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.content_cache import BrokenEntryError, ContentCache, cache_root
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.regular_file import read_regular
from hpclaunch.train.prepared.content import Contents
from hpclaunch.train.prepared.key import key_of, request_digest

if TYPE_CHECKING:
    from hpclaunch.train.prepared.rows import PreparedRows


MOST_POINTER = 4096
"""Bytes of a run's `prepared.json` at most."""


@dataclass(frozen=True)
class Kept:
    """The place of a recipe's prepared rows in the cache, whether they are there or not."""

    cache: ContentCache
    key: str
    request: str
    """Digest of the recipe and the device: what `prepare` has checked."""

    def facts(self, *, digests: bool) -> dict[str, Any] | None:
        """Return what is known of the rows, None where they are not there.

        A broken entry is removed, and that is said.
        """
        try:
            return self.cache.read(self.key, digests=digests)
        except BrokenEntryError as error:
            say(f"{self.cache.entry(self.key)} is damaged ({error}): the rows are made anew")
            self.cache.discard(self.key)
            return None

    def write(self, rows: PreparedRows) -> None:
        """Put rows into the cache; where that fails, say why and go on."""
        from hpclaunch.train.prepared.rows import write

        try:
            self.cache.publish(self.key, lambda folder: write(rows, folder))
        except OSError as error:
            say(f"the tokenized rows are not kept: {self.cache.root}: {error.strerror or error}")

    def point(self, folder: RunFolder) -> None:
        """Name the entry in the run folder, for its ranks."""
        with contextlib.suppress(OSError):
            write_atomic(folder.prepared, json.dumps({"key": self.key, "request": self.request}))


def say(text: str) -> None:
    """Print a message on stderr."""
    print(f"hpclaunch: {text}", file=sys.stderr)


def kept_rows(recipe: Recipe, device: str) -> Kept | None:
    """Return where a recipe's rows are kept; None where its data or the cache does not allow it."""
    cache = ContentCache(cache_root(os.environ))
    if not cache.open():
        say(f"the tokenized rows are not kept: {cache.root} is not a folder of yours alone")
        return None
    key = key_of(recipe, Contents(cache.root / "digests"))
    return None if key is None else Kept(cache, key, request_digest(recipe, device))


def rows_of_run(folder: RunFolder, recipe: Recipe, device: str) -> PreparedRows | None:
    """Return the rows that `prepare` left for a run; None where this node does not have them."""
    from hpclaunch.train.prepared.rows import read

    try:
        pointer = json.loads(read_regular(folder.prepared, MOST_POINTER))
        key, request = str(pointer["key"]), str(pointer["request"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    cache = ContentCache(cache_root(os.environ))
    if request != request_digest(recipe, device) or not key.isalnum() or not cache.open():
        return None
    try:
        facts = cache.read(key, digests=False)
        return None if facts is None else read(cache.entry(key), facts)
    except Exception as error:  # whatever reading damaged files raises: they are made anew
        say(f"{cache.entry(key)} cannot be read ({error}): this rank makes the rows anew")
        return None
