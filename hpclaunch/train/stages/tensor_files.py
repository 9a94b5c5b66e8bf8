"""safetensors files of a model: read a tensor at a time, and written a tensor at a time."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from hpclaunch.errors import UserError
from hpclaunch.run.weight_files import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_CODES = {dtype: code for code, dtype in DTYPES.items()}


class TensorFiles:
    """The weights of a folder, by the names of their tensors."""

    def __init__(self, folder: Path) -> None:
        """Read which file holds which tensor. Raises UserError where that is not plain."""
        self.folder = folder
        self.files = _weight_map(folder)

    def tensor(self, name: str) -> Any:
        """Return one tensor."""
        with safe_open(self.folder / self.files[name], framework="pt") as opened:
            return opened.get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, without reading it."""
        with safe_open(self.folder / self.files[name], framework="pt") as opened:
            return tuple(opened.get_slice(name).get_shape())

    def dtype(self, name: str) -> Any:
        """Return a tensor's type, without reading it."""
        with safe_open(self.folder / self.files[name], framework="pt") as opened:
            return DTYPES[opened.get_slice(name).get_dtype()]


def _weight_map(folder: Path) -> dict[str, str]:
    """Return the file of each tensor. Raises UserError."""
    index = read_json(folder / INDEX) if not (folder / SINGLE).is_file() else None
    if index is None:
        if not (folder / SINGLE).is_file():
            raise UserError(f"{folder} has neither {SINGLE} nor {INDEX}")
        with safe_open(folder / SINGLE, framework="pt") as opened:
            return dict.fromkeys(opened.keys(), SINGLE)
    found = index.get("weight_map")
    if not isinstance(found, dict) or not found:
        raise UserError(f"{folder / INDEX} is damaged: it has no weight_map")
    for name, file in found.items():
        if (
            not isinstance(file, str)
            or Path(file).name != file
            or Path(file).suffix != ".safetensors"
        ):
            raise UserError(f"{folder / INDEX} is damaged: {name} is in {file!r}")
    return found


def layout(
    shapes: Mapping[str, tuple[tuple[int, ...], Any]],
) -> tuple[bytes, dict[str, int], int]:
    """Return what a safetensors file begins with, where in it each tensor begins, and its size.

    `shapes`: shape and dtype of each, in the order in which they lie.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end, places = 0, {}
    for name, (shape, dtype) in shapes.items():
        places[name] = end
        end += math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [places[name], end],
        }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    start = struct.pack("<Q", len(text)) + text
    return start, {name: len(start) + place for name, place in places.items()}, len(start) + end


def write_tensors(
    path: Path,
    shapes: dict[str, tuple[tuple[int, ...], Any]],
    value: Callable[[str], Any],
) -> int:
    """Write a safetensors file, one tensor in memory at a time; return the bytes of its tensors.

    `shapes`: shape and dtype of each, in the order in which they are written. `value` returns one.
    """
    start, _, size = layout(shapes)
    with path.open("wb") as stream:
        stream.write(start)
        for name, (shape, dtype) in shapes.items():
            tensor = value(name).detach().contiguous()
            if tuple(tensor.shape) != shape or tensor.dtype != dtype:
                raise RuntimeError(
                    f"{name} became {tuple(tensor.shape)} of {tensor.dtype}, not {shape} of {dtype}"
                )
            stream.write(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return size - len(start)


def write_index(folder: Path, files: dict[str, str], total_bytes: int) -> None:
    """Write which file holds which tensor."""
    document = {"metadata": {"total_size": total_bytes}, "weight_map": dict(sorted(files.items()))}
    (folder / INDEX).write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def names_by_file(files: dict[str, str]) -> dict[str, Sequence[str]]:
    """Return the tensors of each file, in the order of their names."""
    found: dict[str, list[str]] = {}
    for name in sorted(files):
        found.setdefault(files[name], []).append(name)
    return {file: found[file] for file in sorted(found)}
