"""From the files of one folder to the summary and the time line of each node.

Whatever is missing, torn or garbage is named in the summary's problems; the rest is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitors import layout
from monitors.fallback import TableTally
from monitors.formats.dmon import DmonReader, DmonRow
from monitors.formats.samples import SamplesReader
from monitors.formats.vmstat import VmstatReader, VmstatRow
from monitors.model import Record
from monitors.summary import NodeSummary
from monitors.tally import NodeTally

if TYPE_CHECKING:
    from monitors.table_trace import TableBuilder
    from monitors.timeline import NodeLine
    from monitors.trace import TraceBuilder

_Reader = SamplesReader | DmonReader | VmstatReader


@dataclass(frozen=True)
class NodeRecord:
    """What one node's files hold."""

    summary: NodeSummary
    line: NodeLine | None
    """None where no sample can be put on a time axis."""


def read_summary(directory: Path, node: str) -> NodeSummary:
    """Read the files of one node. Never raises for what they hold or lack."""
    return _read(directory, node, _Nothing(), _Nothing())


def read_node(directory: Path, node: str) -> NodeRecord:
    """As `read_summary`, with the values over time beside it. Needs numpy."""
    from monitors.table_trace import TableBuilder
    from monitors.timeline import reduced
    from monitors.trace import TraceBuilder

    trace, tables = TraceBuilder(), TableBuilder()
    summary = _read(directory, node, trace, tables)
    return NodeRecord(summary, reduced(trace.trace(node)) or reduced(tables.trace(node)))


class _Nothing:
    """Takes what nobody asked for."""

    def add(self, _: Record) -> None: ...
    def add_dmon(self, _: DmonRow) -> None: ...
    def add_vmstat(self, _: VmstatRow) -> None: ...


def _read(
    directory: Path, node: str, trace: _Nothing | TraceBuilder, built: _Nothing | TableBuilder
) -> NodeSummary:
    problems: list[str] = []
    paths = {suffix: layout.path_of(directory, node, suffix) for suffix in layout.SUFFIXES}

    def use(suffix: str, reader: Callable[[Iterable[str]], _Reader], take: Any) -> bool:
        return consume(paths[suffix], reader, take, problems)

    tally = NodeTally()

    def take_records(records: SamplesReader) -> None:
        for record in records:
            tally.add(record)
            trace.add(record)

    readable = use(layout.SAMPLES, SamplesReader, take_records)
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

    def take_rows(add_all: Any, add: Any) -> Any:
        def take(rows: Iterable[Any]) -> None:
            add_all(_also(rows, add))

        return take

    used = []
    if use(layout.DMON, DmonReader, take_rows(tables.add_dmon, built.add_dmon)):
        used.append(paths[layout.DMON].name)
    if use(layout.VMSTAT, VmstatReader, take_rows(tables.add_vmstat, built.add_vmstat)):
        used.append(paths[layout.VMSTAT].name)
    summary = tables.summary(node)
    if not summary.samples:
        # A head without samples still tells when it began and why there is no GPU.
        summary = tally.summary(node)
    return replace(summary, files=tuple(used), problems=tuple(problems))


def _also(rows: Iterable[Any], add: Callable[[Any], None]) -> Iterable[Any]:
    for row in rows:
        add(row)
        yield row


def consume(
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
