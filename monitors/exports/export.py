"""Write what was recorded in a form that other tools read.

    python -m monitors.exports.export DIR --to FORMAT [--node NODE ...] [--out DIR]

`monitors.exports.formats` lists the formats. dmon and vmstat are for scripts written for those two
programs; the others hold every value. What was not known is left out or blank, never 0; dmon has
`-` for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from monitors.exports.formats import FORMATS, FileFormat, TextFormat
from monitors.exports.rows import RecordedNode
from monitors.storage import filenames

__all__ = ["FORMATS", "ExportError", "export", "main"]


class ExportError(Exception):
    """The record cannot be exported like that; the message says why and what to do."""


def export(
    metrics_dir: Path,
    form: str,
    out: Path | None,
    nodes: Sequence[str] = (),
    stream: IO[str] | None = None,
) -> list[Path]:
    """Export into the folder `out`, a file a node, or to `stream`; returns the files written.

    `form` is a name in FORMATS; without `nodes`, all are exported. Raises ExportError where that
    cannot be.
    """
    sources = _sources(metrics_dir, nodes)
    chosen = FORMATS.get(form)
    if chosen is None:
        raise ExportError(f"no format {form!r}; there are {', '.join(FORMATS)}")
    if out is None:
        if isinstance(chosen, FileFormat):
            raise ExportError(f"{form} goes into files: name a folder with --out")
        _to_stream(form, chosen, sources, stream or sys.stdout)
        return []
    if out.resolve() == metrics_dir.resolve():
        raise ExportError(f"{out} holds the record itself: choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [_to_file(form, chosen, source, out) for source in sources]
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from None


def _to_stream(
    form: str, chosen: TextFormat, sources: Sequence[RecordedNode], stream: IO[str]
) -> None:
    names = ", ".join(source.node for source in sources)
    if not chosen.several_nodes and len(sources) > 1:
        raise ExportError(
            f"{form} has no column for the node: choose one with --node ({names}), or a folder "
            "for a file each with --out"
        )
    pieces = chosen.text(sources)
    first = next(pieces, None)
    if first is None:
        raise ExportError(f"no {chosen.row} in {names}")
    stream.write(first)
    stream.writelines(pieces)


def _to_file(form: str, chosen: TextFormat | FileFormat, source: RecordedNode, out: Path) -> Path:
    path = out / f"{source.node}{chosen.suffix}"
    if path.is_symlink():
        raise ExportError(f"{path} is a link: remove it, or name another folder")
    if isinstance(chosen, TextFormat):
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(chosen.text([source]))
        return path
    try:
        chosen.write(source, path)
    except ModuleNotFoundError:
        package = chosen.package
        raise ExportError(f"{form} needs the package {package}: pip install {package}") from None
    return path


def _sources(metrics_dir: Path, nodes: Sequence[str]) -> list[RecordedNode]:
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
    return [RecordedNode(node, metrics_dir) for node in chosen]


def main(arguments: Sequence[str] | None = None) -> int:
    """Export; returns the exit code: 0 done, 2 it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m monitors.exports.export", description="Export a record for other tools."
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--to", choices=[*FORMATS], required=True, help="format")
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
