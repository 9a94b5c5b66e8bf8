"""The report as one HTML page that needs no network: style, script and data are inside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jinja2
from markupsafe import Markup

from monitors.analysis.analysis import Analysis
from monitors.analysis.events import PHASES, phases
from monitors.analysis.summary import NodeSummary
from monitors.report.charts import pack
from monitors.report.text import clock, duration

_NOTES = 20


@dataclass(frozen=True)
class _Part:
    name: str
    kind: str
    share: float
    text: str


def render(study: Analysis) -> str:
    """The page. Everything that came from files or the caller is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("monitors.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    style, script = (
        # The package's own text, and not the reader's: it must not be escaped.
        Markup(environment.loader.get_source(environment, name)[0])  # type: ignore[union-attr]  # noqa: S704 - our own text
        for name in ("report.css", "report.js")
    )
    return environment.get_template("report.html.j2").render(
        title=study.story.title or "Report",
        style=style,
        script=script,
        verdict=study.verdict,
        facts=[*study.story.facts, *_facts(study)],
        parts=_parts(study),
        findings=study.findings,
        nodes=[_quality(node) for node in study.report.nodes],
        notes=[(node.node, note) for node in study.report.nodes for note in node.notes[:_NOTES]],
        problems=[*study.report.problems, *_problems(study)],
        data=_json(_data(study)),
        checkpoints=any(span.kind == "checkpoint" for span in study.marks.spans),
    )


def _facts(study: Analysis) -> list[tuple[str, str]]:
    report = study.report
    facts = []
    if report.nodes:
        names = {gpu.name for node in report.nodes for gpu in node.gpus if gpu.name}
        kinds = f" ({', '.join(sorted(names))})" if names else ""
        count = f"{len(report.nodes)} node{'s' * (len(report.nodes) != 1)}"
        gpus = f"{report.gpu_count} GPU{'s' * (report.gpu_count != 1)}{kinds}"
        facts.append(("recorded", f"{count}, {gpus}"))
        began = min((node.began for node in report.nodes if node.began), default=None)
        if began:
            facts.append(("from", began.replace("T", " ", 1)))
    return facts + study.rows


def _parts(study: Analysis) -> list[_Part]:
    """Where the wall time went; empty without marks."""
    marks = study.marks
    ends = [step.end for step in marks.steps] + [span.end for span in marks.spans]
    begins = [step.end - step.seconds for step in marks.steps] + [s.begin for s in marks.spans]
    begins += marks.starts
    if not ends or not begins:
        return []
    began = study.story.began if study.story.began is not None else min(begins)
    end = max(ends) if marks.ended is None else max(marks.ended, *ends)
    spent = phases(marks, min(began, *begins), end)
    whole = sum(spent.values())
    return [
        _Part(PHASES[kind], kind, seconds / whole, duration(seconds))
        for kind, seconds in spent.items()
        if whole
    ]


def _quality(node: NodeSummary) -> dict[str, str]:
    cpu = "unknown" if node.own_cpu_pct is None else f"{node.own_cpu_pct:.2f}% of a core"
    memory = "unknown" if node.own_max_rss_mib is None else f"{node.own_max_rss_mib:.0f} MiB"
    missed = "unknown" if node.missed is None else f"{node.missed:,}"
    return {
        "node": node.node,
        "samples": f"{node.samples:,}",
        "missed": missed,
        "silent": "" if not node.gpu_missed else f"{node.gpu_missed:,}",
        "last": "unknown" if node.last is None else node.last.replace("T", " ", 1),
        "end": node.end_reason
        or ("unknown" if node.starts is None else "none: killed, or running"),
        "clock": clock(node) or "unknown",
        "own": f"{cpu}, {memory}",
    }


def _problems(study: Analysis) -> list[str]:
    found = [f"{node.node}: {text}" for node in study.report.nodes for text in node.problems]
    found += [
        f"{node.node}: no GPU sampled: {node.gpu_problem}"
        for node in study.report.nodes
        if node.gpu_problem
    ]
    if study.timeline is not None:
        found += [
            f"{node.node}: its clock was set {node.clock_jumps} times while recording; the times "
            "here run on without the jumps"
            for node in study.timeline.nodes
            if node.clock_jumps
        ]
    return found


def _data(study: Analysis) -> dict[str, Any] | None:
    if study.timeline is None:
        return None
    offset = study.timeline.nodes[0].utc_offset_s
    flagged = [name for finding in study.findings for name in finding.where]
    data = pack(study.timeline, study.marks, flagged, offset)
    zone = timezone(timedelta(seconds=offset)) if offset else UTC
    data["zone"] = datetime.now(zone).strftime("%Z")
    return data


def _json(value: Any) -> Markup:
    """JSON that can stand inside a script element: nothing in it can end that, or begin another."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - escaped above
