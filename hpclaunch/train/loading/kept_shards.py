"""Finds 4-bit weights that an earlier start kept, and keeps those of this one. Collective."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch.distributed.tensor import DTensor

from hpclaunch.run.content_cache import sha256
from hpclaunch.train import phases
from hpclaunch.train.loading import four_bit, kept_files
from hpclaunch.train.loading.files import Deferred
from hpclaunch.train.loading.kept import KeptWeights, open_cache, place
from hpclaunch.train.loading.kept_files import NotKeptError
from hpclaunch.train.loading.names import plain_name
from hpclaunch.train.loading.reader import Reader
from hpclaunch.train.loading.shards import device_of
from hpclaunch.units import duration, size

T = TypeVar("T")


def find(model: Any, deferred: Deferred) -> KeptWeights:
    """Return where the 4-bit weights of a sharded model are kept. Collective.

    The ranks share the hashing of the model's files. Raises NotKeptError on every rank where one
    cannot use the cache, or the cache is not the same folder on all.
    """
    import torch.distributed as dist

    phases.begin("looking for 4-bit weights of an earlier start")
    layers = four_bit.layers(model)
    like = next(iter(layers.values())).weight
    rank, ranks = dist.get_rank(), dist.get_world_size()

    def hash_share() -> list[str]:
        _, contents = open_cache()
        return [contents.weights(Path(file)) for file in sorted(deferred.files)[rank::ranks]]

    digests = [each for share in _everyone(hash_share) for each in share]
    names = [plain_name(name) for name in layers]
    return place(deferred, names, device_of(like).type, digests)


def files_of(kept: KeptWeights) -> list[str] | None:
    """Return the files of weights that are kept; None where a rank does not find them. Collective.

    A damaged entry is removed.
    """
    import torch.distributed as dist

    first = dist.get_rank() == 0
    found = kept.files(digests=first)
    if all(each == found is not None for each in _everyone(lambda: found)):
        return found
    if first and found is None:
        kept.cache.discard(kept.key)
    return None


def keep(kept: KeptWeights, model: Any, values: Mapping[str, DTensor], reader: Reader) -> str:
    """Write the 4-bit weights of a sharded model into the cache; return that in words. Collective.

    `values`: its parameters; `reader`: where they came from. Raises NotKeptError on every rank.
    """
    import torch.distributed as dist

    phases.begin("keeping the 4-bit weights for later starts")
    started = time.monotonic()
    found = kept_files.entries(model, values, reader)
    total = sum(entry.bytes for entry in found.values())
    mesh = next(iter(values.values())).device_mesh
    group, writes = mesh.get_group(mesh.ndim - 1), not any(mesh.get_coordinate()[:-1])
    first = dist.get_rank() == 0

    def begin() -> Path | None:
        if not first:
            return None
        kept.check_room(total)
        return kept.cache.begin(kept.key)

    making = next(each for each in _everyone(begin) if each is not None)

    def write() -> tuple[dict[str, list[str]], dict[str, tuple[int, str]]]:
        files, mine = kept_files.write(making, found, group, writes=writes)
        return files, {name: digest(making / name) for name in mine}

    def finish() -> None:
        if first:
            kept_files.write_config(making, written[0][0], total, reader)
            own = {each.name: digest(each) for each in making.glob("*.json")}
            both = {name: each for _, files in written for name, each in files.items()}
            kept.finish(making, total, mesh.device_type, own | both)

    try:
        written = _everyone(write)
        _everyone(finish)
    finally:
        if first:
            shutil.rmtree(making, ignore_errors=True)
    spent = duration(time.monotonic() - started)
    return f"4-bit weights kept for later starts: {size(total)} in {kept.folder}, in {spent}"


def digest(path: Path) -> tuple[int, str]:
    """Return a file's size and SHA-256. Raises OSError."""
    return path.stat().st_size, sha256(path)


def _everyone(work: Callable[[], T]) -> list[T]:
    """Do a rank's part of something; return what all ranks' parts returned.

    Raises NotKeptError on every rank where one of them failed. Collective.
    """
    import torch.distributed as dist

    mine: tuple[T | None, str | None]
    try:
        mine = work(), None
    except NotKeptError as error:
        mine = None, str(error)
    except OSError as error:
        mine = None, f"{error.filename or 'the disk'}: {error.strerror or error}"
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    for _, failed in everyone:
        if failed is not None:
            raise NotKeptError(failed)
    return [found for found, _ in everyone]
