"""Reading and analysing a job's records and events: everything that a report shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitors.analysis.events import Events, read_events
from monitors.analysis.figures import Figures, Peak, figures, rows
from monitors.analysis.finding import Finding
from monitors.analysis.gaps import cut_off
from monitors.analysis.read import NodeRecord, read_summary
from monitors.analysis.summary import Report
from monitors.storage import filenames

if TYPE_CHECKING:
    from monitors.analysis.timeline import Timeline


@dataclass(frozen=True)
class JobContext:
    """What the caller knows of the job beside its samples. All of it may be left out."""

    title: str = ""
    setup: tuple[tuple[str, str], ...] = ()
    """Who ran what, where and how, as labels and texts in the order to show."""
    facts: tuple[tuple[str, str], ...] = ()
    """What became of the job, as labels and texts in the order to show."""
    events: tuple[Mapping[str, Any], ...] = ()
    """As `monitors.analysis.events` understands them."""
    problems: tuple[str, ...] = ()
    """What could not be read of all this, a sentence each."""
    began: float | None = None
    """When the job began, in Unix seconds."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """What nodes did that trained nothing, by their names: `server`. Only errors are looked for on
    them: they are no peers of the others, and to be idle or full is nothing wrong there."""
    fixes: Mapping[str, str] = field(default_factory=dict)
    """What to do about a finding, by its key, in terms of the caller's own settings."""
    transport: str | None = None
    """Network that NCCL uses according to its log: `Socket`, `IB`; None where unknown."""
    token_flops: float | None = None
    """FLOPs of a token, forward and backward, without those that are recomputed."""
    bf16_peak: Peak | None = None
    """Returns a GPU's bf16 FLOP/s by its name."""


@dataclass(frozen=True)
class Analysis:
    """Everything a report shows."""

    report: Report
    context: JobContext
    events: Events
    timeline: Timeline | None
    findings: tuple[Finding, ...]
    verdict: str

    @property
    def figures(self) -> Figures:
        """GPU-hours, energy, tokens, throughput, MFU."""
        return figures(self.report, self.events, self.context.token_flops, self.context.bf16_peak)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The known figures as labels and texts."""
        return rows(self.figures)


def build(metrics_dir: Path) -> Report:
    """Read all records in `metrics_dir`. Never raises for what the files hold or lack."""
    report, nodes = _nodes(metrics_dir)
    return replace(report, nodes=cut_off(read_summary(metrics_dir, node) for node in nodes))


def analyse_folder(metrics_dir: Path, context: JobContext | None = None) -> Analysis:
    """Read all records and analyse them. Never raises for what the files hold or lack.

    Raises ModuleNotFoundError where numpy is not installed.
    """
    report, nodes = _nodes(metrics_dir)
    from monitors.analysis.parallel import read_nodes

    context = context or JobContext()
    records = list(read_nodes(metrics_dir, nodes, read_events(context.events).clocks))
    return analyse(report, records, context)


def analyse_files(
    gpu: Sequence[Path],
    cpu: Sequence[Path],
    context: JobContext | None = None,
    vmstat_unit: str | None = None,
) -> Analysis:
    """Analyse files that `nvidia-smi` and `vmstat` wrote. Never raises for what they hold.

    Files that cannot be used are named in the report's problems, with what to do. `vmstat_unit` is
    what was given to `vmstat -S`: k, K, m or M; None where nobody knows.
    """
    from monitors.analysis.external_logs import read_external_logs

    logs = read_external_logs(gpu, cpu, vmstat_unit)
    names = ", ".join(path.name for path in (*gpu, *cpu))
    report = Report(names, problems=tuple(logs.refused))
    return analyse(report, logs.records, context or JobContext(title=names))


def analyse(report: Report, records: Sequence[NodeRecord], context: JobContext) -> Analysis:
    """Analyse records that were read already."""
    from monitors.analysis.evidence import Evidence
    from monitors.analysis.findings import apply_rules, verdict
    from monitors.analysis.findings.changed_values import changed_values
    from monitors.analysis.timeline import joined

    report = replace(report, nodes=cut_off(record.summary for record in records))
    nodes = (replace(node, role=context.roles.get(node.node, "")) for node in report.nodes)
    report = replace(report, nodes=tuple(nodes))
    events = read_events(context.events)
    report = replace(report, problems=(*report.problems, *context.problems, *_unusable(events)))
    timeline = joined(record.line for record in records if record.line is not None)
    if timeline is None:
        return Analysis(report, context, events, None, (), verdict(None, ()))
    trained = _training_nodes(timeline, report)
    others = tuple(
        node for node in timeline.nodes if all(node is not each for each in trained.nodes)
    )
    evidence = Evidence(trained, report, events, context.fixes, context.transport, others)
    findings = apply_rules(evidence)
    changes = changed_values(evidence) if evidence.enough else {}
    nodes = (replace(node, changes=changes.get(node.node, ())) for node in report.nodes)
    report = replace(report, nodes=tuple(nodes))
    whole = not (context.problems or events.unusable)
    text = verdict(evidence, findings, whole)
    return Analysis(report, context, events, timeline, findings, text)


def _training_nodes(timeline: Timeline, report: Report) -> Timeline:
    """Return the nodes that trained, on the same axis; all of them where none did."""
    others = {node.node for node in report.nodes if node.role}
    nodes = tuple(node for node in timeline.nodes if node.node not in others)
    return replace(timeline, nodes=nodes) if nodes else timeline


def _unusable(events: Events) -> Iterator[str]:
    if events.unusable:
        many = f"{events.unusable} events have" if events.unusable > 1 else "1 event has"
        yield f"{many} no time or duration that can be: steps or checkpoints are missing here"


def _nodes(metrics_dir: Path) -> tuple[Report, tuple[str, ...]]:
    """An empty report, and the nodes to read for it."""
    where = str(metrics_dir)
    try:
        nodes = filenames.nodes_in(metrics_dir)
    except OSError as error:
        return Report(where, problems=(f"{where}: {error.strerror}",)), ()
    problems = () if nodes else (f"{where} holds no record of any node",)
    return Report(where, problems=problems), nodes
