"""Pieces of tensors that run on in memory, as DCP's chunks: boxes of the whole tensor.

A run of elements that begins and ends anywhere is the rest of a row, whole rows, and the beginning
of a row; in more dimensions, each part row again so. In a checkpoint the tensor then has its own
shape, as FSDP writes it, and another number of ranks can read it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType

from hpclaunch.train.checkpoint.planners import JsonLoadPlanner, JsonSavePlanner

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Offsets and sizes, a number each a dimension."""


def boxes(shape: Sequence[int], start: int, length: int) -> list[Box]:
    """Return the boxes that `length` elements from `start` on fill, in their order in memory."""
    if length <= 0:
        return []
    if len(shape) < 2:
        return [((start,) * len(shape), (length,) * len(shape))]
    row = math.prod(shape[1:])
    found: list[Box] = []
    number, skipped = divmod(start, row)
    if skipped:
        taken = min(row - skipped, length)
        found += _in_row(number, boxes(shape[1:], skipped, taken))
        number, length = number + 1, length - taken
    rows, rest = divmod(length, row)
    if rows:
        found.append(((number, *(0 for _ in shape[1:])), (rows, *shape[1:])))
    return found + _in_row(number + rows, boxes(shape[1:], 0, rest))


def _in_row(number: int, parts: list[Box]) -> list[Box]:
    return [((number, *offsets), (1, *sizes)) for offsets, sizes in parts]


class Piece:
    """A rank's piece of a tensor. DCP takes it by the methods that its own sharded tensors have."""

    def __init__(self, shape: Sequence[int], start: int, values: torch.Tensor) -> None:
        """Take the whole tensor's shape, and the elements from `start` on, flat."""
        self._shape = torch.Size(shape)
        self.dtype = values.dtype
        self._parts: dict[torch.Size, torch.Tensor] = {}
        begin = 0
        for offsets, sizes in boxes(self._shape, start, values.numel()):
            count = math.prod(sizes)
            self._parts[torch.Size(offsets)] = values.narrow(0, begin, count).view(sizes)
            begin += count

    def size(self) -> torch.Size:
        """Return the shape of the whole tensor."""
        return self._shape

    def part(self, index: MetadataIndex) -> torch.Tensor:
        """Return the elements of a chunk, as a view that can be written to."""
        if index.offset is None:
            raise KeyError(f"{index.fqn}: a piece is found by its offset")
        return self._parts[index.offset]

    def __create_chunk_list__(self) -> list[ChunkStorageMetadata]:
        """Return where in the whole tensor the elements lie."""
        return [ChunkStorageMetadata(at, part.size()) for at, part in self._parts.items()]

    def __create_write_items__(self, name: str, _: object) -> list[WriteItem]:
        """Return what is to be written of it."""
        return [
            WriteItem(
                MetadataIndex(name, at),
                WriteItemType.SHARD,
                tensor_data=TensorWriteData(
                    ChunkStorageMetadata(at, part.size()),
                    TensorProperties.create_from_tensor(part),
                    self._shape,
                ),
            )
            for at, part in self._parts.items()
        ]


class PieceSavePlanner(JsonSavePlanner):
    """Writes pieces beside tensors and values."""

    def lookup_object(self, index: MetadataIndex) -> Any:
        """Return the tensor or the value of an item."""
        held = self.state_dict[index.fqn]
        return held.part(index) if isinstance(held, Piece) else super().lookup_object(index)


class PieceLoadPlanner(JsonLoadPlanner):
    """Loads into pieces, tensors and values of a flat state dict, by the names in the index."""

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False)

    def set_up_planner(
        self,
        state_dict: dict[str, Any],
        metadata: Metadata | None = None,
        is_coordinator: bool = False,
    ) -> None:
        """Take the state dict as it is: DCP's own walks through it, and knows no pieces."""
        self.state_dict = self.original_state_dict = state_dict
        self.metadata = metadata
        self.is_coordinator = is_coordinator

    def lookup_tensor(self, index: MetadataIndex) -> torch.Tensor:
        """Return where the elements of an item go."""
        held = self.state_dict[index.fqn]
        if isinstance(held, Piece):
            return held.part(index)
        found: torch.Tensor = super().lookup_tensor(index)
        return found
