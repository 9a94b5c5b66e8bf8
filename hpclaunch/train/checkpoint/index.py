"""dcp.json: which tensors a distributed checkpoint holds, in which files, and its other values.

It stands where torch.distributed.checkpoint has `.metadata`, a pickle. The tensors lie beside it in
`__RANK_N.safetensors`; N counts up where a rank holds a second part of a tensor.

    {"format": "hpclaunch-dcp/1",
     "files":   {FILE: {"bytes": 123}},
     "tensors": {NAME: {"path": [...], "dtype": "F32", "shape": [...],
                        "chunks": [[offsets, sizes, FILE], ...]}},
     "values":  {NAME: {"path": [...], "value": typed JSON}}}

Reading it is reading what a stranger may have written: every size, place and name is checked, and a
tensor's parts must make the whole of it, without overlap.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.storage import WriteResult

from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError, decode, parse_json

NAME = "dcp.json"
FORMAT = "hpclaunch-dcp/1"
MAX_BYTES = 1 << 28
"""Of dcp.json: 64,000 parts take some 10 MB."""
MAX_DIMENSIONS = 32
MAX_SIZE = 1 << 48
MAX_INDEX = 1 << 20

FILE_NAME = re.compile(r"__\d{1,6}_\d{1,6}\.safetensors")

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16,
    "I32": torch.int32, "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16,
    "F32": torch.float32, "F64": torch.float64, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
"""Types by the names that safetensors gives them."""
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor, or a part of it, was written."""

    file: str
    file_bytes: int


@dataclass(frozen=True)
class StoredValue:
    """A value that is no tensor, as typed JSON text."""

    text: str


@dataclass(frozen=True)
class Chunk:
    """A part of a tensor in a file."""

    file: str
    dtype: torch.dtype
    shape: torch.Size


@dataclass(frozen=True)
class Stored:
    """What Metadata.storage_data is for this format."""

    chunks: Mapping[MetadataIndex, Chunk]
    values: Mapping[str, Any]
    """Decoded values by name."""
    file_bytes: Mapping[str, int]


def index_text(metadata: Metadata, results: Iterable[Sequence[WriteResult]]) -> str:
    """Return the text of dcp.json for what all ranks have written."""
    stored = {each.index: each.storage_data for result in results for each in result}
    paths = metadata.planner_data or {}
    files: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, item in metadata.state_dict_metadata.items():
        path = list(paths.get(name, (name,)))
        if isinstance(item, BytesStorageMetadata):
            value = json.loads(stored[MetadataIndex(name)].text)
            values[name] = {"path": path, "value": value}
            continue
        chunks = []
        for chunk in item.chunks:
            at = stored[MetadataIndex(name, chunk.offsets)]
            files[at.file] = {"bytes": at.file_bytes}
            chunks.append([list(chunk.offsets), list(chunk.sizes), at.file])
        dtype, shape = DTYPE_NAMES[item.properties.dtype], list(item.size)
        tensors[name] = {"path": path, "dtype": dtype, "shape": shape, "chunks": chunks}
    document = {"format": FORMAT, "files": files, "tensors": tensors, "values": values}
    return json.dumps(document, allow_nan=False)


def parse_index(text: bytes) -> Metadata:
    """Return the metadata that DCP plans a load by. Raises CheckpointFormatError."""
    try:
        return _parse(parse_json(text))
    except CheckpointFormatError as error:
        raise CheckpointFormatError(f"{NAME}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        detail = f"{type(error).__name__}: {str(error)[:80]}"
        raise CheckpointFormatError(f"{NAME} is damaged: {detail}") from None


def _parse(document: Any) -> Metadata:
    if document["format"] != FORMAT:
        raise CheckpointFormatError("it has another format")
    file_bytes = {name: held["bytes"] for name, held in document["files"].items()}
    for name, size in file_bytes.items():
        if not FILE_NAME.fullmatch(name) or type(size) is not int:
            raise CheckpointFormatError("a file's name or size is none")
    items: dict[str, TensorStorageMetadata | BytesStorageMetadata] = {}
    paths: dict[str, tuple[str | int, ...]] = {}
    chunks: dict[MetadataIndex, Chunk] = {}
    values: dict[str, Any] = {}
    for name, held in document["tensors"].items():
        items[name] = tensor = _tensor(name, held, file_bytes)
        paths[name] = parse_path(held["path"])
        for chunk, (_, _, file) in zip(tensor.chunks, held["chunks"], strict=True):
            place = MetadataIndex(name, chunk.offsets)
            chunks[place] = Chunk(file, tensor.properties.dtype, chunk.sizes)
    for name, held in document["values"].items():
        if name in items:
            raise CheckpointFormatError(f"{name[:80]} is a tensor and a value")
        items[name], paths[name] = BytesStorageMetadata(), parse_path(held["path"])
        values[name] = decode(held["value"])
    return Metadata(items, paths, Stored(chunks, values, file_bytes))


def _tensor(name: str, held: Mapping[str, Any], files: Mapping[str, int]) -> TensorStorageMetadata:
    """Return a tensor's metadata: its parts lie inside it, and make the whole."""
    shape, dtype, chunks = parse_size(held["shape"]), DTYPES[held["dtype"]], []
    label = name[:80]
    for offsets, sizes, file in held["chunks"]:
        chunk = ChunkStorageMetadata(parse_size(offsets), parse_size(sizes))
        if file not in files:
            raise CheckpointFormatError(f"{label}: a part is in no file")
        chunks.append(chunk)
    check_whole(label, shape, chunks)
    return TensorStorageMetadata(TensorProperties(dtype=dtype), shape, chunks)


def check_whole(name: str, shape: torch.Size, chunks: Sequence[ChunkStorageMetadata]) -> None:
    """Raise CheckpointFormatError unless the parts make the whole tensor, each place once."""
    for chunk in chunks:
        if len(chunk.offsets) != len(shape) or len(chunk.sizes) != len(shape):
            raise CheckpointFormatError(f"{name}: a part has other dimensions")
        if any(o + s > n for o, s, n in zip(chunk.offsets, chunk.sizes, shape, strict=True)):
            raise CheckpointFormatError(f"{name}: a part lies outside")
    starts = {tuple(chunk.offsets) for chunk in chunks}
    if len(starts) != len(chunks):
        raise CheckpointFormatError(f"{name}: a part comes twice")
    if sum(math.prod(chunk.sizes) for chunk in chunks) != math.prod(shape) or _overlap(chunks):
        raise CheckpointFormatError(f"{name}: its parts do not make the whole")


def _overlap(chunks: Sequence[ChunkStorageMetadata]) -> bool:
    """Return whether two parts overlap: a sweep along the dimension that is cut most often."""
    filled = [chunk for chunk in chunks if math.prod(chunk.sizes)]
    if len(filled) < 2:
        return False
    dimensions = range(len(filled[0].offsets))
    along = max(dimensions, key=lambda d: len({chunk.offsets[d] for chunk in filled}))
    active: list[ChunkStorageMetadata] = []
    for chunk in sorted(filled, key=lambda each: each.offsets[along]):
        begin = chunk.offsets[along]
        active = [each for each in active if each.offsets[along] + each.sizes[along] > begin]
        if any(_meet(each, chunk) for each in active):
            return True
        active.append(chunk)
    return False


def _meet(a: ChunkStorageMetadata, b: ChunkStorageMetadata) -> bool:
    spans = zip(a.offsets, a.sizes, b.offsets, b.sizes, strict=True)
    return all(i < j + n and j < i + m for i, m, j, n in spans)


def parse_size(value: Any) -> torch.Size:
    """Return a shape or an offset: whole numbers, few and bounded.

    Raises CheckpointFormatError.
    """
    if type(value) is not list or len(value) > MAX_DIMENSIONS:
        raise CheckpointFormatError("a size is none")
    if not all(type(n) is int and 0 <= n < MAX_SIZE for n in value):
        raise CheckpointFormatError("a size is none")
    return torch.Size(value)


def parse_path(value: Any) -> tuple[str | int, ...]:
    """Return where a value belongs in nested dictionaries and lists.

    Raises CheckpointFormatError.
    """
    if type(value) is not list or not 0 < len(value) <= MAX_DIMENSIONS:
        raise CheckpointFormatError("a path is none")
    for key in value:
        if type(key) is not str and not (type(key) is int and 0 <= key < MAX_INDEX):
            raise CheckpointFormatError("a path is none")
    return tuple(value)
