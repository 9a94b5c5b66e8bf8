"""Nested dictionaries of tensors and values, written and read by one process."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from hpclaunch.train.checkpoint.planners import JsonLoadPlanner, JsonSavePlanner
from hpclaunch.train.checkpoint.storage_reader import SafetensorsReader, open_shard
from hpclaunch.train.checkpoint.storage_writer import SafetensorsWriter
from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError


def write_tree(tree: dict[str, Any], folder: Path) -> SafetensorsWriter:
    """Write nested dictionaries and return the writer, which knows the files and their digests.

    Raises OSError, CheckpointFormatError (as DCP wraps them: CheckpointException).
    """
    writer = SafetensorsWriter(folder)
    with _one_process():
        save(tree, storage_writer=writer, planner=JsonSavePlanner(), no_dist=True)
    return writer


def read_tree(folder: Path) -> dict[str, Any]:
    """Return what a folder holds, on the CPU and with tensors whole, whoever wrote the parts.

    Raises OSError, CheckpointFormatError (as DCP wraps them: CheckpointException).
    """
    reader = SafetensorsReader(folder)
    _check_room(reader.read_metadata(), folder)
    return read_with(reader, JsonLoadPlanner)


def read_with(reader: Any, planner_class: type[JsonLoadPlanner]) -> dict[str, Any]:
    """Return what a reader of DCP finds, as `read_tree` does.

    Raises OSError, CheckpointFormatError (as DCP wraps them: CheckpointException).
    """
    metadata = reader.read_metadata()
    flat: dict[str, Any] = {
        name: torch.empty(item.size, dtype=item.properties.dtype)
        if isinstance(item, TensorStorageMetadata)
        else None
        for name, item in metadata.state_dict_metadata.items()
    }
    planner = planner_class(flatten_state_dict=False)
    with _one_process():
        load(flat, storage_reader=reader, planner=planner, no_dist=True)
    tree: dict[str | int, Any] = {}
    for name, path in (metadata.planner_data or {}).items():
        place = tree
        for key in path[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                break
        if not isinstance(place, dict) or path[-1] in place:
            raise CheckpointFormatError(f"{name[:80]} lies within another value")
        place[path[-1]] = flat[name]
    nested: dict[str, Any] = _lists(tree)
    return nested


def _lists(value: Any) -> Any:
    """Return nested dictionaries with lists where the keys are numbers."""
    if not isinstance(value, dict):
        return value
    if value and all(type(key) is int for key in value):
        return [_lists(value[key]) for key in sorted(value)]
    return {str(key): _lists(each) for key, each in value.items()}


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Leave out DCP's warning that it works in one process: it is meant to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _check_room(metadata: Metadata, folder: Path) -> None:
    """Refuse an index that promises more than its files hold, before memory is taken for it."""
    files = metadata.storage_data.file_bytes
    for name, size in files.items():
        open_shard(folder / name, size).close()
    held = sum(files.values())
    promised = sum(
        math.prod(item.size) * item.properties.dtype.itemsize
        for item in metadata.state_dict_metadata.values()
        if isinstance(item, TensorStorageMetadata)
    )
    if promised > held:
        raise CheckpointFormatError(f"dcp.json names {promised:,} bytes, its files hold {held:,}")
