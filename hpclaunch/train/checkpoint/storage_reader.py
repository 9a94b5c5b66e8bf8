"""Reads a distributed checkpoint of safetensors and JSON, each rank the parts it needs."""

from __future__ import annotations

import io
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch.distributed.checkpoint import StorageReader
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

from hpclaunch.run.regular_file import NotRegularFileError, open_regular, read_regular
from hpclaunch.train.checkpoint import index
from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError, encode


class SafetensorsReader(StorageReader):  # type: ignore[misc]  # torch is untyped here
    """A StorageReader of torch.distributed.checkpoint: see `index` for the format."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stored = index.Stored({}, {}, {})

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Take another folder, if one is given."""
        self.folder = Path(checkpoint_id) if checkpoint_id else self.folder

    def read_metadata(self) -> Metadata:
        """Return what dcp.json says. Raises OSError, CheckpointFormatError.

        It takes no keyword arguments: DCP would look for another metadata file of each rank.
        """
        try:
            text = read_regular(self.folder / index.NAME, index.MAX_BYTES)
        except NotRegularFileError as error:
            raise CheckpointFormatError(str(error)) from None
        return index.parse_index(text)

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        """Keep where the tensors lie."""
        self._stored = metadata.storage_data

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Return the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Return the plans as they are."""
        return plans

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Any folder will do."""
        return True

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Fill the tensors and values of a plan. Raises OSError, CheckpointFormatError."""
        by_file: dict[str, list[ReadItem]] = defaultdict(list)
        for item in plan.items:
            if item.type == LoadItemType.BYTE_IO:
                value = encode(self._stored.values[item.storage_index.fqn])
                planner.load_bytes(item, io.BytesIO(json.dumps(value).encode()))
            else:
                by_file[self._stored.chunks[item.storage_index].file].append(item)
        for file, items in by_file.items():
            self._read_file(file, items, planner)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _read_file(self, file: str, items: list[ReadItem], planner: LoadPlanner) -> None:
        with open_shard(self.folder / file, self._stored.file_bytes[file]) as stream:
            # By the open descriptor: what was checked is what is read.
            try:
                with safe_open(f"/proc/self/fd/{stream.fileno()}", framework="pt") as opened:
                    self._fill(opened, file, items, planner)
            except SafetensorError as error:
                raise CheckpointFormatError(f"{file}: {str(error)[:120]}") from None

    def _fill(self, opened: Any, file: str, items: list[ReadItem], planner: LoadPlanner) -> None:
        names = set(opened.keys())
        for item in items:
            name, chunk = item.storage_index.fqn, self._stored.chunks[item.storage_index]
            if name not in names:
                raise CheckpointFormatError(f"{file} does not hold {name}")
            held = opened.get_slice(name)
            dtype, shape = index.DTYPES.get(held.get_dtype()), held.get_shape()
            if dtype != chunk.dtype or shape != list(chunk.shape):
                raise CheckpointFormatError(
                    f"{file}: {name} is {held.get_dtype()} {shape} instead of "
                    f"{index.DTYPE_NAMES[chunk.dtype]} {list(chunk.shape)}"
                )
            target = planner.resolve_tensor(item).detach()
            if list(item.lengths) == list(chunk.shape):
                target.copy_(opened.get_tensor(name))
            else:
                spans = zip(item.storage_offsets, item.lengths, strict=True)
                target.copy_(held[tuple(slice(begin, begin + n) for begin, n in spans)])
            planner.commit_tensor(item, target)


def open_shard(path: Path, expected_bytes: int) -> io.BufferedReader:
    """Open a file of tensors. Raises CheckpointFormatError unless it is a file of that size."""
    try:
        stream = open_regular(path)
    except OSError as error:
        raise CheckpointFormatError(f"{path.name}: {error.strerror or 'no plain file'}") from None
    size = os.fstat(stream.fileno()).st_size
    if size != expected_bytes:
        stream.close()
        raise CheckpointFormatError(f"{path.name} has {size:,} bytes instead of {expected_bytes:,}")
    return stream
