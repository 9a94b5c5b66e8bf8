"""The report as one HTML page that needs no network: style, scripts and data are inside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from monitors.analysis.analysis import Analysis
from monitors.analysis.events import PHASES, phases
from monitors.analysis.finding import Finding
from monitors.analysis.summary import NodeSummary
from monitors.report.chart_list import charts_for
from monitors.report.charts import pack
from monitors.report.gpu_table import COLUMNS, rows
from monitors.report.text import clock, duration

_NOTES = 20
_SHORT_S = 10
_STYLES = ("vendor/uPlot.min.css", "report.css")
_SCRIPTS = ("vendor/uPlot.iife.min.js", "report.js", "table.js")
_LICENCE = "vendor/uPlot.LICENSE.txt"


@dataclass(frozen=True)
class _Part:
    name: str
    kind: str
    share: float
    text: str


@dataclass(frozen=True)
class _Link:
    """From a finding to a plot that shows it."""

    chart: str
    node: str
    anchor: str
    where: str
    """JSON list of the GPUs to highlight."""
    text: str


@cache
def _environment() -> jinja2.Environment:
    """Return what compiles the templates, once for all pages of a process."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("monitors.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )


def render(analysis: Analysis) -> str:
    """Return the page. Everything that came from files or the caller is escaped."""
    environment = _environment()

    def own(name: str) -> Markup:
        """A file of this package, not text from outside: it must not be escaped."""
        return Markup(environment.loader.get_source(environment, name)[0])  # type: ignore[union-attr]  # noqa: S704 - our own text

    scripts = [own(name) for name in _SCRIPTS]
    scripts[0] = Markup("/*!\n{}*/\n{}").format(own(_LICENCE), scripts[0])
    data = _data(analysis)
    return environment.get_template("report.html.j2").render(
        title=analysis.context.title or "Report",
        style=Markup("\n").join(own(name) for name in _STYLES),
        scripts=scripts,
        verdict=analysis.verdict,
        setup=analysis.context.setup,
        facts=[*analysis.context.facts, *_facts(analysis)],
        parts=_parts(analysis),
        findings=[(finding, _links(analysis, finding)) for finding in analysis.findings],
        gpu_columns=COLUMNS,
        gpus=rows(analysis),
        nodes=[_quality(node) for node in analysis.report.nodes],
        notes=[
            (node.node, text)
            for node in analysis.report.nodes
            for text in (*node.changes, *node.notes[:_NOTES])
        ],
        problems=[*analysis.report.problems, *_problems(analysis)],
        data=_json(data),
        checkpoints=any(span.kind == "checkpoint" for span in analysis.events.spans),
    )


def _links(analysis: Analysis, finding: Finding) -> list[_Link]:
    """One link for each chart that shows a finding: of the first node it names, or of the first."""
    if analysis.timeline is None:
        return []
    names = [node.node for node in analysis.timeline.nodes]
    places = [name.rpartition(" GPU ")[0] or name for name in finding.where]
    node = next((name for name in places if name in names), names[0])
    line = analysis.timeline.nodes[names.index(node)]
    known = {*line.bands, *(name for gpu in line.gpus for name in gpu.bands)}
    every = charts_for(analysis.findings)
    charts = [chart for chart in every if known & set(chart.columns) & set(finding.columns)]
    charts.sort(key=lambda chart: min(map(finding.columns.index, _shared(chart.columns, finding))))
    whose = f" of {node}" if places or len(names) == 1 else ""
    return [
        _Link(
            chart.key,
            node,
            f"plot-{chart.key}-{names.index(node)}",
            json.dumps(finding.where),
            f"{chart.title}{whose}",
        )
        for chart in charts
    ]


def _shared(columns: tuple[str, ...], finding: Finding) -> list[str]:
    return [column for column in columns if column in finding.columns]


def _facts(analysis: Analysis) -> list[tuple[str, str]]:
    report = analysis.report
    facts = []
    if report.nodes:
        names = {gpu.name for node in report.nodes for gpu in node.gpus if gpu.name}
        types = f" ({', '.join(sorted(names))})" if names else ""
        count = f"{len(report.nodes)} node{'s' * (len(report.nodes) != 1)}"
        gpus = f"{report.gpu_count} GPU{'s' * (report.gpu_count != 1)}{types}"
        facts.append(("recorded", f"{count}, {gpus}"))
        began = min((node.began for node in report.nodes if node.began), default=None)
        if began:
            facts.append(("from", began.replace("T", " ", 1)))
    return facts + analysis.rows


def _parts(analysis: Analysis) -> list[_Part]:
    """Where the wall time went; empty without events."""
    events = analysis.events
    ends = [step.end for step in events.steps] + [span.end for span in events.spans]
    begins = [step.end - step.seconds for step in events.steps] + [s.begin for s in events.spans]
    begins += events.starts
    if not ends or not begins:
        return []
    began = analysis.context.began if analysis.context.began is not None else min(begins)
    end = max(ends) if events.ended is None else max(events.ended, *ends)
    spent = phases(events, min(began, *begins), end)
    whole = sum(spent.values())
    return [
        _Part(PHASES[kind], kind, seconds / whole, _seconds(seconds))
        for kind, seconds in spent.items()
        if whole
    ]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _SHORT_S else duration(seconds)


def _quality(node: NodeSummary) -> dict[str, str]:
    cpu = "unknown" if node.own_cpu_pct is None else f"{node.own_cpu_pct:.2f}% of a core"
    memory = "unknown" if node.own_max_rss_mib is None else f"{node.own_max_rss_mib:.0f} MiB"
    missed = "unknown" if node.missed is None else f"{node.missed:,}"
    return {
        "node": f"{node.node} ({node.role})" if node.role else node.node,
        "samples": f"{node.samples:,}",
        "missed": missed,
        "silent": "" if not node.gpu_missed else f"{node.gpu_missed:,}",
        "last": "unknown" if node.last is None else node.last.replace("T", " ", 1),
        "end": node.end_reason
        or ("unknown" if node.starts is None else "none: killed, or still running"),
        "clock": clock(node) or "unknown",
        "own": f"{cpu}, {memory}",
    }


def _problems(analysis: Analysis) -> list[str]:
    found = [f"{node.node}: {text}" for node in analysis.report.nodes for text in node.problems]
    found += [
        f"{node.node}: no GPU sampled: {node.gpu_problem}"
        for node in analysis.report.nodes
        if node.gpu_problem
    ]
    if analysis.timeline is not None:
        found += [
            f"{node.node}: its clock was set {node.clock_jumps} times while recording; the times "
            "here run on without the jumps"
            for node in analysis.timeline.nodes
            if node.clock_jumps
        ]
    return found


def _data(analysis: Analysis) -> dict[str, Any] | None:
    if analysis.timeline is None:
        return None
    offset = analysis.timeline.nodes[0].utc_offset_s
    flagged = [name for finding in analysis.findings for name in finding.where]
    data = pack(analysis.timeline, analysis.events, flagged, offset, charts_for(analysis.findings))
    zone = timezone(timedelta(seconds=offset)) if offset else UTC
    data["zone"] = datetime.now(zone).strftime("%Z")
    return data


def _json(value: Any) -> Markup:
    """JSON that can stand inside a script element: nothing in it can end that, or begin another."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - escaped above
