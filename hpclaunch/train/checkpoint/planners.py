"""DCP's planners for checkpoints without pickle: values travel as JSON, and types must match."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch.distributed.checkpoint import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadPlan, ReadItem, WriteItem, WriteItemType

from hpclaunch.train.checkpoint.typed_json import (
    CheckpointFormatError,
    decode,
    dump_json,
    parse_json,
)

_NUMBERS = (int, float)
_KINDS = (bool, int, float, str, list, tuple, dict)


class JsonSavePlanner(DefaultSavePlanner):  # type: ignore[misc]  # torch is untyped here
    """Writes what is no tensor as typed JSON."""

    def transform_object(self, write_item: WriteItem, object: Any) -> Any:
        """Return a tensor as it is, any other value as a stream of JSON."""
        if write_item.type != WriteItemType.BYTE_IO:
            return object
        return io.BytesIO(dump_json(object).encode())


class JsonLoadPlanner(DefaultLoadPlanner):  # type: ignore[misc]  # torch is untyped here
    """Loads what JsonSavePlanner wrote; DCP's own would cast another type without a word."""

    def create_local_plan(self) -> LoadPlan:
        """Plan a load. Raises CheckpointFormatError where a type differs."""
        known = self.metadata.state_dict_metadata if self.metadata else {}
        for name, value in self.state_dict.items():
            held = known.get(name)
            if held is None:
                continue  # DCP says itself what is missing
            is_tensor = isinstance(value, torch.Tensor) or hasattr(value, "__create_chunk_list__")
            if is_tensor != isinstance(held, TensorStorageMetadata):
                raise CheckpointFormatError(f"{name}: a tensor here or there, but not both")
            if isinstance(held, TensorStorageMetadata) and value.dtype != held.properties.dtype:
                there = held.properties.dtype
                raise CheckpointFormatError(f"{name}: {there} there, {value.dtype} here")
        return super().create_local_plan()

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Put a value into the state. Raises CheckpointFormatError."""
        name = read_item.dest_index.fqn
        loaded = decode(parse_json(value.read()))
        if not _same_kind(self.state_dict.get(name), loaded):
            raise CheckpointFormatError(f"{name}: a value of another type")
        self.put(name, loaded)

    def put(self, name: str, loaded: Any) -> None:
        """Put a value into the state."""
        place = self.original_state_dict
        path = self.mappings[name] if self.flatten_state_dict else (name,)
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = loaded
        self.state_dict[name] = loaded  # a copy of the above, made when the load began


def _same_kind(current: Any, loaded: Any) -> bool:
    """Return whether a loaded value may take the place of the one there is."""
    if current is None or loaded is None or type(current) not in _KINDS:
        return True
    if type(current) in _NUMBERS and type(loaded) in _NUMBERS:
        return True
    return type(current) is type(loaded)
