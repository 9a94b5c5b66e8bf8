"""Writes a distributed checkpoint as safetensors and JSON, with digests made while writing."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.distributed.checkpoint import StorageWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from hpclaunch.train.checkpoint import index
from hpclaunch.train.checkpoint.manifest import FileEntry
from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError, write_synced

PIECE_BYTES = 1 << 22
"""Written, and hashed beside it, at a time."""
COPY_AHEAD_BYTES = 1 << 26
"""How much is copied from the GPU while what came before is written."""


class SafetensorsWriter(StorageWriter):  # type: ignore[misc]  # torch is untyped here
    """A StorageWriter of torch.distributed.checkpoint: see `index` for the format."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: dict[str, FileEntry] = {}
        """This rank's files, by their names in the folder, once DCP's save has ended."""

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Take another folder, if one is given."""
        self.folder = Path(checkpoint_id) if checkpoint_id else self.folder

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Do nothing: there is nothing to prepare."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Make the folder and return the plan as it is. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Return the plans, each with the number of its rank, which names the files."""
        return [replace(plan, storage_data=rank) for rank, plan in enumerate(plans)]

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Any folder will do."""
        return True

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's tensors. Raises OSError, CheckpointFormatError."""
        files: list[dict[str, WriteItem]] = []  # a name comes once in a file
        results = []
        for item in plan.items:
            if item.type == WriteItemType.BYTE_IO:
                text = planner.resolve_data(item).getvalue().decode()
                results.append(WriteResult(item.index, len(text), index.StoredValue(text)))
                continue
            held = next((each for each in files if item.index.fqn not in each), None)
            if held is None:
                files.append(held := {})
            held[item.index.fqn] = item
        for number, held in enumerate(files):
            name = f"__{plan.storage_data}_{number}.safetensors"
            size = self._write_file(name, held, planner)
            stored = index.StoredTensor(name, size)
            results += [WriteResult(item.index, 0, stored) for item in held.values()]
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write dcp.json, on the first rank, once all others have written. Raises OSError."""
        text = index.index_text(metadata, results)
        write_synced(self.folder / index.NAME, text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.written[index.NAME] = FileEntry(len(text.encode()), digest)

    def _write_file(self, name: str, items: dict[str, WriteItem], planner: SavePlanner) -> int:
        """Write a safetensors file and return its bytes."""
        header = _header(items)
        tensor_bytes = sum(
            math.prod(_shape(each)) * _dtype(each).itemsize for each in items.values()
        )
        expected = len(header) + tensor_bytes
        with (self.folder / name).open("wb", buffering=0) as stream:
            output = _HashingStream(stream)
            output.write(header)
            for data in _tensors_on_host(list(items.values()), planner):
                output.write(data)
            if stream.tell() != expected:
                raise CheckpointFormatError(f"{name}: {stream.tell()} bytes instead of {expected}")
            os.fsync(stream.fileno())
        self.written[name] = FileEntry(expected, output.close())
        return int(expected)


class _HashingStream:
    """Writes pieces while another thread hashes them: both leave Python's lock."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1)

    def write(self, data: Any) -> None:
        """Write all of a buffer. Raises OSError."""
        view = memoryview(data).cast("B")
        for begin in range(0, len(view), PIECE_BYTES):
            piece = view[begin : begin + PIECE_BYTES]
            hashing = self._pool.submit(self._digest.update, piece)
            try:
                while piece:
                    piece = piece[self._stream.write(piece) :]
            finally:
                hashing.result()  # the buffer may go once it is hashed, too

    def close(self) -> str:
        """Return the digest of what was written."""
        self._pool.shutdown()
        return self._digest.hexdigest()


def _header(items: dict[str, WriteItem]) -> bytes:
    """Return a safetensors header, with its length in front.

    `DCP_SHARDING_INFO` says which part of a tensor a file holds, as torch's own reader of
    distributed safetensors expects it.
    """
    header: dict[str, Any] = {}
    offsets: dict[str, Any] = {}
    end = 0
    for name, item in items.items():
        dtype, shape = _dtype(item), _shape(item)
        if dtype not in index.DTYPE_NAMES:
            raise CheckpointFormatError(f"{name}: safetensors has no type for {dtype}")
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": index.DTYPE_NAMES[dtype],
            "shape": shape,
            "data_offsets": [begin, end],
        }
        offsets[name] = {"saved_offsets": list(item.tensor_data.chunk.offsets)}
    sharding = {"format": "pt", "DCP_VERSION": "1.0", "DCP_SHARDING_INFO": json.dumps(offsets)}
    text = json.dumps({"__metadata__": sharding, **header}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _shape(item: WriteItem) -> list[int]:
    return list(item.tensor_data.chunk.sizes)


def _dtype(item: WriteItem) -> torch.dtype:
    return item.tensor_data.properties.dtype


def _tensors_on_host(items: list[WriteItem], planner: SavePlanner) -> Iterator[Any]:
    """Yield each tensor's bytes in host memory; the next are copied from the GPU meanwhile."""
    copies = torch.cuda.Stream() if torch.cuda.is_available() else None
    if copies is not None:
        copies.wait_stream(torch.cuda.current_stream())
    waiting: deque[torch.Tensor] = deque()
    copied_bytes = 0
    for item in items:
        tensor = _plain(item, planner)
        if tensor.is_cuda:
            with torch.cuda.stream(copies):
                tensor = tensor.to("cpu", non_blocking=True)
        waiting.append(tensor)
        copied_bytes += tensor.nbytes
        if copied_bytes > COPY_AHEAD_BYTES:
            if copies is not None:
                copies.synchronize()
            while waiting:
                yield _bytes_of(waiting.popleft())
            copied_bytes = 0
    if copies is not None:
        copies.synchronize()
    while waiting:
        yield _bytes_of(waiting.popleft())


def _plain(item: WriteItem, planner: SavePlanner) -> torch.Tensor:
    """Return the tensor of an item: dense, and no subclass that means more than its values."""
    tensor = planner.resolve_data(item)
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.layout != torch.strided:
        raise CheckpointFormatError(
            f"{item.index.fqn}: a {type(tensor).__name__} is no plain tensor"
        )
    return tensor.detach()


def _bytes_of(tensor: torch.Tensor) -> Any:
    if not tensor.numel():
        return b""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
