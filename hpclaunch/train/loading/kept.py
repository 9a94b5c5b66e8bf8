"""4-bit weights that a start has quantized, kept in the cache for every later start.

An entry is a checkpoint as Transformers saves it: `from_pretrained` loads its folder. Its key is of
the base model's files by content, and of all that bears on how they are quantized.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from hpclaunch.run.content_cache import QUANTIZED, BrokenEntryError, ContentCache, cache_root
from hpclaunch.train.loading.files import Deferred
from hpclaunch.train.loading.kept_files import NotKeptError
from hpclaunch.train.prepared.content import Contents
from hpclaunch.units import size

FORMAT = 1
"""Of what is kept: another one makes the weights anew."""
LIBRARIES = ("bitsandbytes", "transformers", "torch")
"""Packages whose versions bear on the codes and on the layout."""
ROOM = 1.05
"""Free bytes that must be there, in parts of what is written."""
UNREAD = frozenset({"_name_or_path", "transformers_version", "quantization_config"})
"""Fields of a model's config that say nothing of its weights."""


@dataclass(frozen=True)
class KeptWeights:
    """The place of a model's 4-bit weights in the cache, whether they are there or not."""

    cache: ContentCache
    contents: Contents
    key: str
    name: str
    """The model's, for people."""

    @property
    def folder(self) -> Path:
        """Where they lie: what `from_pretrained` takes."""
        return self.cache.entry(self.key)

    def files(self, *, digests: bool) -> list[str] | None:
        """Return the entry's safetensors files; None where it is not there, or is damaged.

        `digests`: hash them, too, if that was not done before.
        """
        try:
            facts = self.cache.read(self.key, digests=digests, digest_of=self.contents.file)
        except BrokenEntryError:
            return None
        if facts is None:
            return None
        return [str(path) for path in sorted(self.folder.glob("*.safetensors"))]

    def finish(
        self, making: Path, total: int, device: str, digests: Mapping[str, tuple[int, str]]
    ) -> None:
        """Make a folder of `total` bytes, quantized by a type of device, the entry.

        Raises OSError.
        """
        facts = {
            "model": self.name, "bytes": total, "quantized_on": device, "made": round(time.time()),
        }  # fmt: skip
        self.cache.finish(self.key, making, facts, digests)
        for name, (_, digest) in digests.items():
            self.contents.remember(self.folder / name, digest)

    def check_room(self, total: int) -> None:
        """Raise NotKeptError where the disk has no room for so many bytes; a quota is not seen."""
        free = shutil.disk_usage(self.cache.root).free
        if free < total * ROOM:
            raise NotKeptError(f"they take {size(total)}, and {self.cache.root} has {size(free)}")


def open_cache() -> tuple[ContentCache, Contents]:
    """Return this user's cache of 4-bit weights, and the digests that it remembers.

    Raises NotKeptError where its folder is not this user's alone.
    """
    cache = ContentCache(cache_root(os.environ), QUANTIZED)
    if not cache.open():
        raise NotKeptError(f"{cache.root} is not a folder of yours alone")
    return cache, Contents(cache.root / "digests")


def place(
    deferred: Deferred, layers: Iterable[str], device: str, digests: Iterable[str]
) -> KeptWeights:
    """Return where a model's 4-bit weights are kept. `digests`: of its files; the rest: `key_of`.

    Raises NotKeptError.
    """
    cache, contents = open_cache()
    key = key_of(deferred, layers, device, digests)
    return KeptWeights(cache, contents, key, str(deferred.skeleton.config.name_or_path))


def key_of(deferred: Deferred, layers: Iterable[str], device: str, digests: Iterable[str]) -> str:
    """Return the key of a model's 4-bit weights.

    `layers`: names of those that are quantized; `device`: type of what quantizes, for others may
    round otherwise; `digests`: of the model's files.
    """
    config = deferred.skeleton.config.to_dict()
    parts = {
        "format": FORMAT,
        "files": sorted(digests),
        "class": type(deferred.skeleton).__name__,
        "config": {key: value for key, value in config.items() if key not in UNREAD},
        "quantization": deferred.load_config.hf_quantizer.quantization_config.to_dict(),
        "dtype": str(deferred.load_config.dtype),
        "layers": sorted(layers),
        "device": device,
        "versions": {each: metadata.version(each) for each in LIBRARIES},
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
