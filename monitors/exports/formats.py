"""The formats that a record is exported to: one row each, from which all else follows.

A new format takes a row here and the function that writes it, in a module of its own where that is
more than a few lines: `json_text` of `monitors.exports.text` is one to begin from. It gets nodes;
`rows(node)` has every sample as a `SampleRow`: its time as Unix seconds (`wall`) and as text, the
node, the GPU's number and uuid (None: of the host), and the known values by name.
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
    """What it is. The page on exports has this, and who reads it."""
    readers: str
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
    readers: str
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
        ".dmon.txt", "the table of `nvidia-smi dmon -o TD -s puct`", "scripts that read it",
        dmon_text, several_nodes=False, row="sample of a GPU",
    ),
    "vmstat": TextFormat(
        ".vmstat.txt", "the table of `vmstat -t 1 -y`", "scripts that read it", vmstat_text,
        several_nodes=False, row="sample with a whole row of vmstat's",
    ),
    "csv": TextFormat(".csv", "one table; what is not known is blank", "a spreadsheet", csv_text),
    "json": TextFormat(".jsonl", "a JSON object a line", "a notebook", json_text),
    "openmetrics": TextFormat(
        ".om.txt",
        "Prometheus's text format, with times; counters are counters, every metric has a help text",
        "Prometheus", openmetrics_text,
    ),
    "parquet": FileFormat(
        ".parquet",
        "one table a node, straight from the packed samples; needs the extra `export`",
        "DuckDB, pandas, Polars", _parquet, "pyarrow",
    ),
    "tensorboard": FileFormat(
        "", "event files", "beside the training's curves", _tensorboard, "tensorboard"
    ),
}  # fmt: skip
"""By the name that `--to` takes."""
