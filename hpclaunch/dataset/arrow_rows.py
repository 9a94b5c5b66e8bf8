"""Rows of Parquet and Arrow files, read by pyarrow, which the training brings along."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hpclaunch.dataset.formats import suffix_of
from hpclaunch.dataset.rows import Position, Row
from hpclaunch.errors import UserError

BATCH = 256
"""Rows that are turned into Python values at once."""

_MAGIC = {".parquet": (b"PAR1",), ".arrow": (b"ARROW1", b"\xff\xff\xff\xff")}


def can_read() -> bool:
    """Return whether pyarrow is here."""
    return importlib.util.find_spec("pyarrow") is not None


def check_magic(file: Path) -> None:
    """Refuse a file that begins with other bytes than its suffix says. Raises UserError."""
    kind = suffix_of(file)
    with file.open("rb") as stream:
        first = stream.read(8)
    if not first.startswith(_MAGIC[kind]):
        raise UserError(
            f"{file} is no {kind.removeprefix('.')} file: it begins with other bytes",
            "write it anew, or give it the suffix of what it is",
        )


def arrow_rows(file: Path, position: Position) -> Iterator[Row]:
    """Return the rows of a file; pyarrow must be here. Raises UserError."""
    check_magic(file)
    import pyarrow

    size, number = file.stat().st_size, 0
    try:
        total, schema, batches = _opened(file)
        decode = _decoder(schema.metadata)
        for batch in batches:
            for begin in range(0, batch.num_rows, BATCH):
                for values in batch.slice(begin, BATCH).to_pylist():
                    number += 1
                    yield Row(file, number, decode(values), is_line=False)
                if total:
                    position.bytes = size * number // total
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _unreadable(file, error, f" after row {number}" if number else "") from None


def row_count(file: Path) -> int:
    """Return the number of rows of a file; pyarrow must be here. Raises UserError."""
    import pyarrow

    check_magic(file)
    try:
        total, _, batches = _opened(file)
        return total or sum(batch.num_rows for batch in batches)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def column_names(file: Path) -> list[str]:
    """Return the columns of a file; pyarrow must be here. Raises UserError."""
    import pyarrow

    check_magic(file)
    try:
        return list(_opened(file)[1].names)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception, rows: str = "") -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{file} cannot be read{rows}: {reason}", "copy or write the file anew")


def _opened(file: Path) -> tuple[int, Any, Iterator[Any]]:
    """Return rows (0 where not known), schema and batches of a file."""
    import pyarrow.ipc
    import pyarrow.parquet

    if suffix_of(file) == ".parquet":
        parquet = pyarrow.parquet.ParquetFile(file)
        return parquet.metadata.num_rows, parquet.schema_arrow, parquet.iter_batches(BATCH)
    source = pyarrow.memory_map(str(file))
    try:
        stream = pyarrow.ipc.open_stream(source)
        return 0, stream.schema, iter(stream)
    except pyarrow.ArrowInvalid:
        reader = pyarrow.ipc.open_file(source)
        batches = (reader.get_batch(at) for at in range(reader.num_record_batches))
        return 0, reader.schema, batches


def _decoder(metadata: dict[bytes, bytes] | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what turns a row's values into those that the `datasets` library gives.

    It keeps values of any shape as JSON in a text, and says so in the schema.
    """
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return lambda values: values
    held = {name for name, feature in features.items() if '"Json"' in json.dumps(feature)}
    if not held:
        return lambda values: values
    return lambda values: {
        name: _decoded(value, features[name]) if name in held else value
        for name, value in values.items()
    }


def _decoded(value: Any, feature: Any) -> Any:
    if value is None or not isinstance(feature, dict | list):
        return value
    if isinstance(feature, list):
        return [_decoded(each, feature[0]) for each in value]
    kind = feature.get("_type")
    if kind == "Json":
        return json.loads(value) if isinstance(value, str) else value
    if kind in ("List", "LargeList", "Sequence"):
        return [_decoded(each, feature["feature"]) for each in value]
    if kind is None and isinstance(value, dict):
        return {key: _decoded(each, feature.get(key)) for key, each in value.items()}
    return value
