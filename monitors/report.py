"""Report on every node recorded in a folder.

    python -m monitors.report DIR [--json]

Whatever is missing, torn or garbage is named in the report; the rest is reported all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from monitors import layout
from monitors.fallback import TableTally
from monitors.formats.dmon import DmonReader
from monitors.formats.samples import SamplesReader
from monitors.formats.vmstat import VmstatReader
from monitors.report_text import render_text
from monitors.summary import NodeSummary, Report
from monitors.tally import NodeTally

__all__ = ["Report", "build", "main", "render_text", "to_dict"]

_Reader = SamplesReader | DmonReader | VmstatReader


def build(metrics_dir: Path) -> Report:
    """Read all records in `metrics_dir`. Never raises for what the files hold or lack."""
    try:
        nodes = layout.nodes_in(metrics_dir)
    except OSError as error:
        return Report(str(metrics_dir), problems=(f"{metrics_dir}: {error.strerror}",))
    if not nodes:
        return Report(str(metrics_dir), problems=(f"{metrics_dir} holds no record of any node",))
    return Report(str(metrics_dir), tuple(_node(metrics_dir, node) for node in nodes))


def to_dict(report: Report) -> dict[str, Any]:
    """The report as plain values for JSON; null is "unknown"."""
    return asdict(report)


def _node(directory: Path, node: str) -> NodeSummary:
    problems: list[str] = []
    paths = {suffix: layout.path_of(directory, node, suffix) for suffix in layout.SUFFIXES}

    def consume(suffix: str, reader: Callable[[Iterable[str]], _Reader], take: Any) -> bool:
        return _consume(paths[suffix], reader, take, problems)

    tally = NodeTally()

    def take_records(records: SamplesReader) -> None:
        for record in records:
            tally.add(record)

    readable = consume(layout.SAMPLES, SamplesReader, take_records)
    if tally.samples:
        summary = replace(tally.summary(node), files=(paths[layout.SAMPLES].name,))
        # Unused here, but users and their scripts will look for them.
        for suffix in (layout.DMON, layout.VMSTAT):
            if not paths[suffix].exists() and (suffix != layout.DMON or summary.gpus):
                problems.append(f"{paths[suffix].name} is missing")
        return replace(summary, problems=tuple(problems))

    if readable:
        problems.append(f"{paths[layout.SAMPLES].name}: no samples")
    tables = TableTally()
    used = []
    if consume(layout.DMON, DmonReader, tables.add_dmon):
        used.append(paths[layout.DMON].name)
    if consume(layout.VMSTAT, VmstatReader, tables.add_vmstat):
        used.append(paths[layout.VMSTAT].name)
    summary = tables.summary(node)
    if not summary.samples:
        # A head without samples still tells when it began and why there is no GPU.
        summary = tally.summary(node)
    return replace(summary, files=tuple(used), problems=tuple(problems))


def _consume(
    path: Path, reader: Callable[[Iterable[str]], _Reader], take: Any, problems: list[str]
) -> bool:
    """Read one file; False when there is nothing in it to use. Adds to `problems`."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            rows = reader(file)
            take(rows)
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
        return False
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror}")
        return False
    if rows.skipped:
        lines = "1 line makes" if rows.skipped == 1 else f"{rows.skipped} lines make"
        problems.append(f"{path.name}: {lines} no sense and cannot be counted")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; returns the exit code: 0 done, 2 the folder holds no record."""
    parser = argparse.ArgumentParser(
        prog="python -m monitors.report", description="Report on the nodes recorded in a folder."
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print the figures for a program")
    args = parser.parse_args(arguments)
    report = build(args.directory)
    print(json.dumps(to_dict(report), indent=2) if args.json else render_text(report))
    for problem in report.problems:
        print(f"report: {problem}", file=sys.stderr)
    return 0 if report.nodes else 2


if __name__ == "__main__":
    sys.exit(main())
