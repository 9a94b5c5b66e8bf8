"""The `.metadata` of checkpoints that torch.distributed.checkpoint wrote by itself, read with care.

It is a pickle. Python's own unpickler reads it, and every class that it names is an inert one made
for this reading alone, so that what the pickle does to a class ends with it. The values are then
checked and put into fresh Metadata.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

from hpclaunch.run.regular_file import open_regular, read_regular
from hpclaunch.train.checkpoint.index import DTYPES, MAX_BYTES, check_whole, parse_path, parse_size
from hpclaunch.train.checkpoint.planners import JsonLoadPlanner
from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError, encode

NAME = ".metadata"
_MODULE = "torch.distributed.checkpoint.metadata"
_NAMES = (
    "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta",
    "TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
)  # fmt: skip
_ALLOWED = {(_MODULE, name) for name in _NAMES} | {
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("builtins", "getattr"),  # inert, too: of an enumeration, as Python 3.11.2 writes one
}
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}
_FILE_NAME = re.compile(r"__\d{1,6}_\d{1,6}\.distcp")


class _Inert:
    """Stands for an instance of whatever the pickle names: keeps what it is given."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> _Inert:
        made = object.__new__(cls)
        made.args, made.state = args, None
        return made

    def __init__(self, *args: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle._Unpickler):  # the one without C code
    """Python's own: its memo is a dictionary, where the C one's array can be blown up."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.kinds: dict[str, type[_Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) not in _ALLOWED:
            raise CheckpointFormatError(f"it names {module}.{name}"[:120])
        return self.kinds.setdefault(name, type(name, (_Inert,), {}))

    def persistent_load(self, pid: Any) -> Any:
        raise CheckpointFormatError("it has persistent ids")

    def get_extension(self, code: int) -> Any:
        raise CheckpointFormatError("it has extension codes")


def parse_pickled_index(text: bytes) -> Metadata:
    """Return the metadata of a `.metadata` file. Raises CheckpointFormatError."""
    try:
        return _metadata(_fields(_Unpickler(io.BytesIO(text)).load(), "Metadata"))
    except CheckpointFormatError as error:
        raise CheckpointFormatError(f"{NAME}: {error}") from None
    except Exception as error:  # whatever a made-up pickle brings about
        detail = f"{type(error).__name__}: {str(error)[:80]}"
        raise CheckpointFormatError(f"{NAME} is damaged: {detail}") from None


def _metadata(held: dict[str, Any]) -> Metadata:
    items: dict[str, Any] = {}
    for name, item in _dictionary(held["state_dict_metadata"]).items():
        if type(name) is not str:
            raise CheckpointFormatError("a name is none")
        pickled_value = type(item).__name__ == "BytesStorageMetadata"
        items[name] = BytesStorageMetadata() if pickled_value else _tensor(name, item)
    stored = {}
    for key, value in _dictionary(held["storage_data"]).items():
        index = _fields(key, "MetadataIndex")
        offset = index.get("offset")
        where = MetadataIndex(index["fqn"], None if offset is None else _size(offset))
        stored[where] = _place(_fields(value, "_StorageInfo"))
    paths = {
        name: parse_path(list(path))
        for name, path in _dictionary(held.get("planner_data") or {}).items()
    }
    return Metadata(items, paths, stored, StorageMeta())


def _tensor(name: str, item: Any) -> TensorStorageMetadata:
    held = _fields(item, "TensorStorageMetadata")
    dtype = _instance(held["properties"], "TensorProperties").state[0]
    if not isinstance(dtype, torch.dtype):
        raise CheckpointFormatError(f"{name[:80]}: no type")
    shape, chunks = _size(held["size"]), []
    for chunk in held["chunks"]:
        part = _fields(chunk, "ChunkStorageMetadata")
        chunks.append(ChunkStorageMetadata(_size(part["offsets"]), _size(part["sizes"])))
    check_whole(name[:80], shape, chunks)
    return TensorStorageMetadata(TensorProperties(dtype=dtype), shape, chunks)


def _place(info: dict[str, Any]) -> _StorageInfo:
    name, offset, length = info["relative_path"], info["offset"], info["length"]
    numbers = type(offset) is type(length) is int and offset >= 0 and length >= 0
    if type(name) is not str or not _FILE_NAME.fullmatch(name) or not numbers:
        raise CheckpointFormatError("a place is none")
    if info.get("transform_descriptors"):
        raise CheckpointFormatError("packed data is not read")
    return _StorageInfo(name, offset, length)


def _instance(value: Any, kind: str) -> _Inert:
    if not isinstance(value, _Inert) or type(value).__name__ != kind:
        raise CheckpointFormatError(f"no {kind} where one belongs")
    return value


def _fields(value: Any, kind: str) -> dict[str, Any]:
    return _dictionary(_instance(value, kind).state)


def _dictionary(value: Any) -> dict[Any, Any]:
    if type(value) is not dict:
        raise CheckpointFormatError("a table is none")
    return value


def _size(value: Any) -> torch.Size:
    return parse_size(list(*_instance(value, "Size").args))


class PickledReader(FileSystemReader):  # type: ignore[misc]  # torch is untyped here
    """Reads what DCP's own writer wrote, with the index read as above."""

    def read_metadata(self) -> Metadata:
        """Return the metadata. Raises OSError, CheckpointFormatError."""
        return parse_pickled_index(read_regular(Path(self.path) / NAME, MAX_BYTES))

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Fill the plan from plain files alone. Raises OSError."""
        for item in plan.items:
            place = self.storage_data[item.storage_index]
            open_regular(Path(self.path) / place.relative_path).close()
        return super().read_data(plan, planner)


class PickledLoadPlanner(JsonLoadPlanner):
    """Loads values by torch's unpickler for weights alone, and takes plain ones only."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Put a value into the state. Raises CheckpointFormatError, UnpicklingError."""
        loaded = torch.load(value, weights_only=True)
        encode(loaded)
        self.put(read_item.dest_index.fqn, loaded)
