"""Files of 4-bit weights, in the layout in which Transformers saves and loads them.

The weights are sharded over the ranks. Each file is written by one rank, which is sent the others'
parts of it piece by piece: no rank ever holds more than a piece of a tensor beside its own shards.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor, Shard

from hpclaunch.train.loading import four_bit
from hpclaunch.train.loading.names import plain_name
from hpclaunch.train.loading.reader import Reader
from hpclaunch.train.loading.shards import device_of
from hpclaunch.train.stages.tensor_files import layout, write_index

FILE_BYTES = 4 * 2**30
"""Of a file, where there are ranks enough to write so many."""
PIECE_BYTES = 2**22
"""Of a tensor that a writer is sent at once, all ranks' parts together."""


class NotKeptError(Exception):
    """These weights are not kept; its text is the reason, for a log line."""


@dataclass(frozen=True)
class Entry:
    """A tensor of the checkpoint."""

    shape: tuple[int, ...]
    dtype: Any
    value: Any
    """Sharded, or the same on every rank."""

    @property
    def bytes(self) -> int:
        """Its size in a file."""
        return math.prod(self.shape) * int(self.dtype.itemsize)


def entries(model: Any, values: Mapping[str, DTensor], reader: Reader) -> dict[str, Entry]:
    """Return the checkpoint's tensors by name, from what was read and quantized.

    `values`: parameters by the model's own names, each with this rank's part. Raises NotKeptError
    for what plain `from_pretrained` would read otherwise.
    """
    found: dict[str, Entry] = {}
    packed = {plain_name(f"{name}.weight"): each for name, each in four_bit.layers(model).items()}
    for name, value in values.items():
        plain = plain_name(name)
        if plain in found or reader.source_of(plain) != plain:
            continue
        if not all(isinstance(each, Shard) and each.dim == 0 for each in value.placements[-1:]):
            raise NotKeptError(f"{plain} is not sharded by rows")
        if plain in packed:
            found[plain] = Entry(tuple(value.shape), value.dtype, value)
            for part, tensor in packed[plain].quant_state.as_dict(packed=True).items():
                found[f"{plain}.{part}"] = Entry(tuple(tensor.shape), tensor.dtype, tensor)
            continue
        dtype = reader.dtypes[plain]
        if torch.promote_types(dtype, value.dtype) != value.dtype:
            raise NotKeptError(f"{plain} is held in {value.dtype}, and is {dtype} in the files")
        found[plain] = Entry(tuple(value.shape), dtype, value)
    check_names(found, reader)
    return found


def check_names(found: Mapping[str, Any], reader: Reader) -> None:
    """Refuse a checkpoint that `from_pretrained` would not read name by name. Raises NotKeptError.

    `found`: what is in it.
    """
    for name in found:
        if reader.parameter_of(name) != name:
            raise NotKeptError(f"{name} has another name in files")
        if name in reader.dtypes and reader.is_converted(name):
            raise NotKeptError(f"{name} is made of several tensors of the files")
    own = {name for name in reader.dtypes if name in reader.sources or name not in reader.tied}
    lost = own - found.keys()
    if lost:
        raise NotKeptError(f"{min(lost)} was not read from the files")


def write(
    folder: Path, found: Mapping[str, Entry], group: Any, *, writes: bool
) -> tuple[dict[str, list[str]], list[str]]:
    """Write the tensors; return the names in each file, and the files that this rank wrote.

    Collective over the group. `writes`: whether this copy of the model is the one to write; the
    others only return. An OSError is raised when this rank has sent all of its parts.
    """
    import torch.distributed as dist

    ranks = dist.get_world_size(group)
    files = _files(found, ranks)
    failed: OSError | None = None
    mine = []
    for number, (name, names) in enumerate(files.items() if writes else ()):
        # Neighbouring ranks are on one node: spread the files over the nodes.
        owner = number * ranks // len(files)
        order = sorted(names, key=lambda each: -found[each].dtype.itemsize)  # so all are aligned
        start, places, _ = layout({each: (found[each].shape, found[each].dtype) for each in order})
        file = _File(folder / name, start) if dist.get_rank(group) == owner else None
        for each in order:
            for offset, part in _parts(found[each], group, owner, mine=file is not None):
                if file is not None:
                    file.write(part, places[each] + offset)
        if file is not None:
            mine.append(name)
            failed = failed or file.close()
    if failed is not None:
        raise failed
    return files, mine


class _File:
    """A file that this rank writes. What fails is kept, for the other ranks go on sending."""

    def __init__(self, path: Path, start: bytes) -> None:
        self._descriptor: int | None = None
        self._failed: OSError | None = None
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            self._failed = error
        self.write(start, 0)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write at a place in the file."""
        try:
            while data and self._descriptor is not None and self._failed is None:
                written = os.pwrite(self._descriptor, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            self._failed = error

    def close(self) -> OSError | None:
        """Bring the file to the disk; return what failed, if anything did."""
        try:
            if self._descriptor is not None:
                try:
                    os.fsync(self._descriptor)
                finally:
                    os.close(self._descriptor)
        except OSError as error:
            self._failed = self._failed or error
        return self._failed


def write_config(
    folder: Path, files: Mapping[str, Iterable[str]], total: int, reader: Reader
) -> None:
    """Write the model's config, which says how the weights are quantized, and the files' index.

    `files`: the tensors in each; `total`: their bytes.
    """
    config = copy.deepcopy(reader.skeleton.config)
    config.architectures = [type(reader.skeleton).__name__]
    config.dtype = reader.load_config.dtype
    config.quantization_config = reader.load_config.hf_quantizer.quantization_config
    config.save_pretrained(folder)
    write_index(folder, {name: file for file, names in files.items() for name in names}, total)


def _files(found: Mapping[str, Entry], ranks: int) -> dict[str, list[str]]:
    """Return the tensors of each file, a rank's file at most one."""
    total = sum(entry.bytes for entry in found.values())
    count = min(ranks, -(-total // FILE_BYTES))
    files: list[list[str]] = [[] for _ in range(count)]
    done = 0
    for name, entry in found.items():
        files[min(done * count // total, count - 1)].append(name)
        done += entry.bytes
    kept = [each for each in files if each]
    return {
        f"model-{number:05d}-of-{len(kept):05d}.safetensors": names
        for number, names in enumerate(kept, start=1)
    }


def _parts(entry: Entry, group: Any, owner: int, *, mine: bool) -> Iterator[tuple[int, memoryview]]:
    """Yield a tensor's bytes and where they belong, piece by piece, on its writer. Collective."""
    if not isinstance(entry.value, DTensor):
        if mine:
            yield 0, _bytes(entry.value)
        return
    import torch.distributed as dist

    ranks = dist.get_world_size(group)
    row = math.prod(entry.shape[1:])
    share = -(-entry.shape[0] // ranks)
    begins = [min(rank * share, entry.shape[0]) * row for rank in range(ranks + 1)]
    local = entry.value.to_local().detach().contiguous().flatten()
    item = int(entry.dtype.itemsize)
    piece = max(1, PIECE_BYTES // ranks // item)
    for at in range(0, share * row, piece):
        length = min(piece, share * row - at)
        own = torch.zeros(length, dtype=entry.dtype, device=device_of(entry.value))
        part = local[at : at + length]
        own[: part.numel()] = part
        sent = own.view(torch.uint8)  # not every backend gathers every type
        pieces = [torch.empty_like(sent) for _ in range(ranks)] if mine else None
        dist.gather(sent, pieces, group=group, group_dst=owner)
        for rank, begin in enumerate(begins[:-1] if pieces else ()):
            valid = min(length, begins[rank + 1] - begin - at)
            if pieces and valid > 0:
                yield (begin + at) * item, _bytes(pieces[rank][: valid * item])


def _bytes(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
