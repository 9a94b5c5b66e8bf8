"""Values of a training's state as JSON: what is no tensor, and nothing that could name code.

A pickle is a program: whoever can write one into a checkpoint runs code in every rank that loads
it. JSON holds numbers, text and lists of them. Tuples and numbers such as infinity, which JSON
lacks, are written as an object of one key that names the kind.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from hpclaunch.run.regular_file import read_regular

MAX_DEPTH = 8
MAX_BYTES = 1 << 24
"""Of a file of values: RNG states take some 50 kB, a scheduler's state far less."""


class CheckpointFormatError(ValueError):
    """A checkpoint that is not what it should be, or a value that JSON cannot hold."""


def encode(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON takes it. Raises CheckpointFormatError for any other type."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) in (list, tuple) and depth < MAX_DEPTH:
        items = [encode(each, depth + 1) for each in value]
        return items if type(value) is list else {"tuple": items}
    if type(value) is dict and depth < MAX_DEPTH and all(type(key) is str for key in value):
        return {"dict": {key: encode(each, depth + 1) for key, each in value.items()}}
    kind = type(value)
    raise CheckpointFormatError(f"a {kind.__module__}.{kind.__qualname__} cannot be kept as JSON")


def decode(value: Any, depth: int = 0) -> Any:
    """Return the value that `encode` was given. Raises CheckpointFormatError."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth < MAX_DEPTH:
        if type(value) is list:
            return [decode(each, depth + 1) for each in value]
        if type(value) is dict and len(value) == 1:
            ((kind, content),) = value.items()
            if kind == "float" and content in ("inf", "-inf", "nan"):
                return float(content)
            if kind == "tuple" and type(content) is list:
                return tuple(decode(each, depth + 1) for each in content)
            if kind == "dict" and type(content) is dict:
                return {key: decode(each, depth + 1) for key, each in content.items()}
    raise CheckpointFormatError("a value is of no known type")


def parse_json(text: bytes | str) -> Any:
    """Return what a JSON text holds: no name twice, no NaN. Raises CheckpointFormatError."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        detail = str(error)[:80] if isinstance(error, ValueError) else "nested too deep"
        raise CheckpointFormatError(f"no JSON: {detail}") from None


def dump_json(value: Any) -> str:
    """Return a value's JSON text. Raises CheckpointFormatError."""
    return json.dumps(encode(value), allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write a value to a file and to the disk. Raises OSError, CheckpointFormatError."""
    write_synced(path, dump_json(value))


def write_synced(path: Path, text: str) -> None:
    """Write text to a file and to the disk. Raises OSError."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def read_json(path: Path) -> Any:
    """Return the value of a file that `write_json` wrote. Raises OSError, CheckpointFormatError."""
    try:
        return decode(parse_json(read_regular(path, MAX_BYTES)))
    except CheckpointFormatError as error:
        raise CheckpointFormatError(f"{path.name}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise CheckpointFormatError("a name comes twice")
    return values


def _no_constant(text: str) -> Any:
    raise CheckpointFormatError(f"{text} is no number of JSON")
