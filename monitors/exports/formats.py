"""The formats that a record is exported to: one row each, from which all else follows.

A new format takes a row here and the function that writes it, in a module of its own where that is
more than a few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monitors.exports.rows import RecordedNode
from monitors.exports.tables import dmon_text, vmstat_text
from monitors.exports.text import csv_text, json_text, openmetrics_text


@dataclass(frozen=True, slots=True)
class TextFormat:
    """Text, which can go to stdout."""

    suffix: str
    """What a node's file is called after the node's name."""
    help: str
    text: Callable[[Iterable[RecordedNode]], Iterator[str]]
    """Returns the text of several nodes, piece by piece."""
    several_nodes: bool = True
    """Whether it has a place for the node's name, so that several nodes can stand in one text."""
    row: str = "sample"
    """What a record needs at least one of."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """Files or folders, one a node."""

    suffix: str
    help: str
    write: Callable[[RecordedNode, Path], None]
    """Writes a node's file. Raises ModuleNotFoundError without `package`, and OSError."""
    package: str
    """The Python package that it needs."""


def _parquet(source: RecordedNode, path: Path) -> None:
    from monitors.exports.parquet import write_parquet  # with numpy: not for the other formats

    write_parquet(source, path)


def _tensorboard(source: RecordedNode, path: Path) -> None:
    from monitors.exports.tensorboard import write_tensorboard

    write_tensorboard(source, path)


FORMATS: dict[str, TextFormat | FileFormat] = {
    "dmon": TextFormat(
        ".dmon.txt", "the table of `nvidia-smi dmon -o TD -s puct`", dmon_text,
        several_nodes=False, row="sample of a GPU",
    ),
    "vmstat": TextFormat(
        ".vmstat.txt", "the table of `vmstat -t 1 -y`", vmstat_text,
        several_nodes=False, row="sample with a whole row of vmstat's",
    ),
    "csv": TextFormat(".csv", "one table; what is not known is blank", csv_text),
    "json": TextFormat(".jsonl", "a JSON object a line", json_text),
    "openmetrics": TextFormat(".om.txt", "Prometheus's text format, with times", openmetrics_text),
    "parquet": FileFormat(
        ".parquet", "one table, for DuckDB, pandas and Polars", _parquet, "pyarrow"
    ),
    "tensorboard": FileFormat("", "TensorBoard's event files", _tensorboard, "tensorboard"),
}  # fmt: skip
"""By the name that `--to` takes."""
