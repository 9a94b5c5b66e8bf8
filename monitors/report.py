"""Report on every node recorded in a folder.

    python -m monitors.report DIR [--json] [--html FILE] [--marks FILE]
    python -m monitors.report --gpu DMON --cpu VMSTAT [--json] [--html FILE] [--marks FILE]

Whatever is missing, torn or garbage is named in the report; the rest is reported all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitors import layout
from monitors.figures import Figures, Peak, figures, rows
from monitors.finding import Finding
from monitors.gaps import cut_off
from monitors.marks import Marks, read_marks
from monitors.reading import NodeRecord, read_summary
from monitors.report_text import render_findings, render_text
from monitors.summary import Report

if TYPE_CHECKING:
    from monitors.timeline import Timeline

__all__ = [
    "Report", "Story", "Study", "build", "holds_record", "main", "render_findings", "render_html",
    "render_text", "study", "study_files", "to_dict",
]  # fmt: skip


@dataclass(frozen=True)
class Story:
    """What the caller knows of the job beside its samples. All of it may be left out."""

    title: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    """What became of the job, as labels and texts in the order to show."""
    marks: tuple[Mapping[str, Any], ...] = ()
    """As `monitors.marks` understands them."""
    began: float | None = None
    """When the job began, in Unix seconds."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """What to do about a finding, by its key, in the words of the caller's own settings."""
    transport: str | None = None
    """How collectives travelled, where the log says it: `Socket`, `IB`."""
    token_flops: float | None = None
    """FLOPs of the model's own work for a token, forth and back; what is recomputed not counted."""
    bf16_peak: Peak | None = None
    """A card's FLOP/s by its name."""


@dataclass(frozen=True)
class Study:
    """Everything a report shows."""

    report: Report
    story: Story
    marks: Marks
    timeline: Timeline | None
    findings: tuple[Finding, ...]
    verdict: str

    @property
    def figures(self) -> Figures:
        """What the job took and gave."""
        return figures(self.report, self.marks, self.story.token_flops, self.story.bf16_peak)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The same as labels and texts."""
        return rows(self.figures)


def holds_record(folder: Path) -> bool:
    """Whether any node was recorded in a folder."""
    try:
        return bool(layout.nodes_in(folder))
    except OSError:
        return False


def build(metrics_dir: Path) -> Report:
    """Read all records in `metrics_dir`. Never raises for what the files hold or lack."""
    report, nodes = _nodes(metrics_dir)
    return replace(report, nodes=cut_off(read_summary(metrics_dir, node) for node in nodes))


def study(metrics_dir: Path, story: Story | None = None) -> Study:
    """Read all records and judge them. Never raises for what the files hold or lack.

    Raises ModuleNotFoundError where numpy is not installed.
    """
    report, nodes = _nodes(metrics_dir)
    from monitors.bulk import read_nodes

    story = story or Story()
    records = list(read_nodes(metrics_dir, nodes, read_marks(story.marks).clocks))
    return judged(report, records, story)


def study_files(gpu: Sequence[Path], cpu: Sequence[Path], story: Story | None = None) -> Study:
    """Judge files that `nvidia-smi dmon` and `vmstat` wrote. Never raises for what they hold."""
    from monitors.foreign import read_foreign

    records = read_foreign(gpu, cpu)
    names = ", ".join(path.name for path in (*gpu, *cpu))
    problems = () if any(r.summary.samples for r in records) else (f"no samples in {names}",)
    return judged(Report(names, problems=problems), records, story or Story(title=names))


def judged(report: Report, records: Sequence[NodeRecord], story: Story) -> Study:
    """Judge records that were read already."""
    from monitors.evidence import Evidence
    from monitors.findings import judge, verdict
    from monitors.timeline import joined

    report = replace(report, nodes=cut_off(record.summary for record in records))
    marks = read_marks(story.marks)
    timeline = joined(record.line for record in records if record.line is not None)
    if timeline is None:
        return Study(report, story, marks, None, (), verdict(None, ()))
    evidence = Evidence(timeline, report, marks, story.changes, story.transport)
    findings = judge(evidence)
    return Study(report, story, marks, timeline, findings, verdict(evidence, findings))


def render_html(found: Study) -> str:
    """The report as one HTML page that needs nothing else."""
    from monitors.page import render  # jinja2 is not needed for the text

    return render(found)


def to_dict(report: Report | Study) -> dict[str, Any]:
    """The report as plain values for JSON; null is "unknown"."""
    if isinstance(report, Report):
        return asdict(report)
    found = asdict(report.report)
    found |= {"verdict": report.verdict, "findings": [asdict(f) for f in report.findings]}
    return found | {"figures": asdict(report.figures)}


def _nodes(metrics_dir: Path) -> tuple[Report, tuple[str, ...]]:
    """An empty report, and the nodes to read for it."""
    where = str(metrics_dir)
    try:
        nodes = layout.nodes_in(metrics_dir)
    except OSError as error:
        return Report(where, problems=(f"{where}: {error.strerror}",)), ()
    problems = () if nodes else (f"{where} holds no record of any node",)
    return Report(where, problems=problems), nodes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; returns the exit code: 0 done, 2 the folder holds no record."""
    parser = argparse.ArgumentParser(
        prog="python -m monitors.report", description="Report on the nodes recorded in a folder."
    )
    parser.add_argument("directory", type=Path, metavar="DIR", nargs="?")
    parser.add_argument(
        "--gpu", type=Path, action="append", default=[], help="from nvidia-smi dmon"
    )
    parser.add_argument("--cpu", type=Path, action="append", default=[], help="from vmstat")
    parser.add_argument("--json", action="store_true", help="print the figures for a program")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots, too")
    parser.add_argument("--marks", type=Path, metavar="FILE", help="what the program said, in JSON")
    args = parser.parse_args(arguments)
    files = bool(args.gpu or args.cpu)
    if files == (args.directory is not None):
        parser.error("give either DIR, or files with --gpu and --cpu")
    story = Story(marks=tuple(_marks(args.marks)))
    try:
        found: Report | Study = (
            study_files(args.gpu, args.cpu, story) if files else study(args.directory, story)
        )
    except ModuleNotFoundError as error:  # the figures need the standard library alone
        print(f"report: no findings and no page: {error.name} is not installed", file=sys.stderr)
        if files:
            return 1
        found = build(args.directory)
    report = found if isinstance(found, Report) else found.report
    if args.json:
        print(json.dumps(to_dict(found), indent=2))
    elif isinstance(found, Report) or not report.nodes:
        print(render_text(report))
    else:
        print(render_findings(found.verdict, found.findings) + "\n\n" + render_text(report))
    for problem in report.problems:
        print(f"report: {problem}", file=sys.stderr)
    if args.html is not None and isinstance(found, Study):
        try:
            args.html.write_text(render_html(found), encoding="utf-8")
        except OSError as error:
            print(f"report: {args.html} cannot be written: {error.strerror}", file=sys.stderr)
            return 1
    return 2 if report.problems else 0


def _marks(path: Path | None) -> Iterable[Mapping[str, Any]]:
    if path is None:
        return
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        print(f"report: {path} cannot be read: {error.strerror}", file=sys.stderr)
        return
    for line in text.split("\n"):
        try:
            mark = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(mark, dict):
            yield mark


if __name__ == "__main__":
    sys.exit(main())
