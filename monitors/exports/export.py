"""Write what was recorded in a form that other tools read.

    python -m monitors.exports.export DIR --to FORMAT [--node NODE ...] [--out DIR]

dmon and vmstat are the tables of `nvidia-smi dmon -o TD -s puct` and `vmstat -t 1 -y`, for scripts
written for those. csv, json (a line each), openmetrics, parquet and tensorboard hold every value.
What was not known is left out or blank, never 0; dmon has `-` for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from monitors.exports import tables, text
from monitors.exports.rows import Source
from monitors.storage import filenames

__all__ = ["FORMATS", "ExportError", "export", "main"]


class ExportError(Exception):
    """The record cannot be exported so; the message says why and what to do."""


_Text = Callable[[Iterable[Source]], Iterator[str]]
_TEXT: dict[str, tuple[_Text, str, bool]] = {
    # what writes it, the files' suffix, whether several nodes can stand in one
    "dmon": (tables.dmon_text, ".dmon.txt", False),
    "vmstat": (tables.vmstat_text, ".vmstat.txt", False),
    "csv": (text.csv_text, ".csv", True),
    "json": (text.json_text, ".jsonl", True),
    "openmetrics": (text.openmetrics_text, ".om.txt", True),
}
_FILES = ("parquet", "tensorboard")
FORMATS = (*_TEXT, *_FILES)


def export(
    metrics_dir: Path,
    form: str,
    out: Path | None,
    nodes: Sequence[str] = (),
    stream: IO[str] | None = None,
) -> list[Path]:
    """Export into the folder `out`, a file a node, or to `stream`; gives the files written.

    Raises ExportError where that cannot be.
    """
    sources = _sources(metrics_dir, nodes)
    if form not in FORMATS:
        raise ExportError(f"no format {form!r}; there are {', '.join(FORMATS)}")
    if out is not None and out.resolve() == metrics_dir.resolve():
        raise ExportError(f"{out} holds the record itself: choose another folder")
    if out is None:
        if form in _FILES:
            raise ExportError(f"{form} goes into files: name a folder with --out")
        write, _, several = _TEXT[form]
        if not several and len(sources) > 1:
            names = ", ".join(source.node for source in sources)
            raise ExportError(
                f"{form} has no column for the node: choose one with --node ({names}), or a folder "
                "for a file each with --out"
            )
        pieces = write(sources)
        first = next(pieces, None)
        if first is None:
            raise ExportError(_nothing(form, sources))
        (stream or sys.stdout).writelines((first,))
        (stream or sys.stdout).writelines(pieces)
        return []
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [_one(source, form, out) for source in sources]
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from None


def _one(source: Source, form: str, out: Path) -> Path:
    if form in _TEXT:
        write, suffix, _ = _TEXT[form]
        path = out / f"{source.node}{suffix}"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(write([source]))
        return path
    from monitors.exports import binary

    try:
        if form == "parquet":
            return binary.parquet(source, out / f"{source.node}.parquet")
        return binary.tensorboard(source, out / source.node)
    except ModuleNotFoundError as error:
        package = {"pyarrow": "pyarrow"}.get(str(error.name).partition(".")[0], "tensorboard")
        raise ExportError(f"{form} needs the package {package}: pip install {package}") from None


def _nothing(form: str, sources: Sequence[Source]) -> str:
    what = {"dmon": "of a GPU", "vmstat": "with a whole row of vmstat's"}.get(form, "")
    return f"no sample {what} in {', '.join(source.node for source in sources)}"


def _sources(metrics_dir: Path, nodes: Sequence[str]) -> list[Source]:
    try:
        known = [
            node
            for node in filenames.nodes_in(metrics_dir)
            if any(
                filenames.path_of(metrics_dir, node, suffix).exists()
                for suffix in (filenames.SAMPLES, filenames.BLOCKS)
            )
        ]
    except OSError as error:
        raise ExportError(f"{metrics_dir} cannot be read: {error.strerror}") from None
    if not known:
        raise ExportError(f"{metrics_dir} holds no samples of any node")
    for node in nodes:
        if node not in known:
            raise ExportError(f"no samples of a node {node}; there are {', '.join(known)}")
    chosen = [node for node in known if not nodes or node in nodes]
    return [Source(node, metrics_dir) for node in chosen]


def main(arguments: Sequence[str] | None = None) -> int:
    """Export; returns the exit code: 0 done, 2 it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m monitors.exports.export", description="Export a record for other tools."
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--to", choices=FORMATS, required=True, help="format")
    parser.add_argument("--node", action="append", default=[], help="only this node; repeatable")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a file a node into this folder")
    args = parser.parse_args(arguments)
    try:
        for path in export(args.directory, args.to, args.out, args.node):
            print(path)
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
