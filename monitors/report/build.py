"""Report on every node recorded in a folder.

    python -m monitors.report DIR [--json] [--all-gpus] [--html FILE] [--events FILE]
    python -m monitors.report --gpu LOG --cpu LOG [--json] [--html FILE] [--events FILE]

Whatever is missing, torn or garbage is named in the report; the rest is reported all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monitors.analysis.analysis import Analysis, JobContext, analyse_files, analyse_folder, build
from monitors.analysis.event_file import EventFile, read_event_file
from monitors.analysis.summary import Report
from monitors.report.text import render_findings, render_text
from monitors.storage import filenames


def holds_record(folder: Path) -> bool:
    """Whether any node was recorded in a folder."""
    try:
        return bool(filenames.nodes_in(folder))
    except OSError:
        return False


def render_html(found: Analysis) -> str:
    """Return the report as one HTML page that needs nothing else."""
    from monitors.report.page import render  # jinja2 is not needed for the text

    return render(found)


def to_dict(report: Report | Analysis) -> dict[str, Any]:
    """Return the report as plain values for JSON; null is "unknown"."""
    if isinstance(report, Report):
        return asdict(report)
    found = asdict(report.report)
    found |= {"verdict": report.verdict, "findings": [asdict(f) for f in report.findings]}
    return found | {"figures": asdict(report.figures)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report.

    Returns the exit code: 0 done, 1 some files cannot be used, 2 there is no record.
    """
    parser = argparse.ArgumentParser(
        prog="python -m monitors.report",
        description="Report on the nodes recorded in a folder.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", nargs="?")
    parser.add_argument("--gpu", type=Path, action="append", default=[], help="from nvidia-smi")
    parser.add_argument("--cpu", type=Path, action="append", default=[], help="from vmstat")
    parser.add_argument("--vmstat-unit", choices=tuple("kKmM"), help="what was given to vmstat -S")
    parser.add_argument("--json", action="store_true", help="print the figures for a program")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots, too")
    parser.add_argument(
        "--events", type=Path, metavar="FILE", help="the program's events: steps, checkpoints"
    )
    parser.add_argument(
        "--all-gpus", action="store_true", help="print every GPU, not the worst, median and best"
    )
    args = parser.parse_args(arguments)
    files = bool(args.gpu or args.cpu)
    if files == (args.directory is not None):
        parser.error("give either DIR, or files with --gpu and --cpu")
    logged = EventFile() if args.events is None else read_event_file(args.events)
    if args.events is not None and not args.events.exists():
        logged = EventFile(problems=(f"{args.events} is missing",))
    context = JobContext(events=logged.events, problems=logged.problems)
    try:
        found: Report | Analysis = (
            analyse_files(args.gpu, args.cpu, context, args.vmstat_unit)
            if files
            else analyse_folder(args.directory, context)
        )
    except ModuleNotFoundError as error:  # the figures need the standard library alone
        print(f"report: no findings and no page: {error.name} is not installed", file=sys.stderr)
        if files:
            return 1
        found = build(args.directory)
    report = found if isinstance(found, Report) else found.report
    text = render_text(report, args.all_gpus)
    if args.json:
        print(json.dumps(to_dict(found), indent=2))
    elif isinstance(found, Report) or not report.nodes:
        print(text)
    else:
        print(render_findings(found.verdict, found.findings) + "\n\n" + text)
    for problem in report.problems:
        print(f"report: {problem}", file=sys.stderr)
    if args.html is not None and isinstance(found, Analysis):
        try:
            args.html.write_text(render_html(found), encoding="utf-8")
        except OSError as error:
            print(f"report: {args.html} cannot be written: {error.strerror}", file=sys.stderr)
            return 1
    if not report.nodes:
        return 2
    return 1 if files and report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
