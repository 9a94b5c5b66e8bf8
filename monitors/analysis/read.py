"""From the files of one folder to the summary and the time line of each node.

Whatever is missing, torn or garbage is named in the summary's problems; the rest is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitors.analysis.events import ClockOffset
from monitors.analysis.external_summary import TableTally
from monitors.analysis.summary import NodeSummary
from monitors.analysis.tally import NodeTally
from monitors.external.dmon import DmonRows
from monitors.external.vmstat import VmstatRows
from monitors.regular_file import open_regular_text
from monitors.storage import filenames
from monitors.storage.store import NodeStore

if TYPE_CHECKING:
    from monitors.analysis.external_trace import TableBuilder
    from monitors.analysis.timeline import NodeLine

_Reader = DmonRows | VmstatRows


@dataclass(frozen=True)
class NodeRecord:
    """What one node's files hold."""

    summary: NodeSummary
    line: NodeLine | None
    """None where no sample can be put on a time axis."""


def read_summary(directory: Path, node: str) -> NodeSummary:
    """Read the files of one node. Never raises for what they hold or lack."""
    store, tally = NodeStore(directory, node), NodeTally()
    for record in store.records():
        tally.add(record)
    return _summary(directory, node, store, tally, None)


def read_node(directory: Path, node: str, clock: ClockOffset | None = None) -> NodeRecord:
    """As `read_summary`, with the values over time beside it, by one clock. Needs numpy."""
    from monitors.analysis.array_tally import ArrayTally
    from monitors.analysis.external_trace import TableBuilder
    from monitors.analysis.node_summary import gather
    from monitors.analysis.timeline import reduced
    from monitors.analysis.trace import TraceBuilder

    store, tally, trace, tables = (
        NodeStore(directory, node), ArrayTally(), TraceBuilder(), TableBuilder()
    )  # fmt: skip
    gather(store, tally, trace)
    summary = _summary(directory, node, store, tally, tables)
    if clock is not None:
        summary = replace(summary, clock_ahead_s=clock.seconds, clock_within_s=clock.within)
    ahead_s = 0.0 if clock is None else clock.correction_s
    traces = (builder.trace(node) for builder in (trace, tables))
    lines = (reduced(each, ahead_s=ahead_s) for each in traces)
    return NodeRecord(summary, next((line for line in lines if line is not None), None))


def _summary(
    directory: Path, node: str, store: NodeStore, tally: NodeTally, built: TableBuilder | None
) -> NodeSummary:
    """What was gathered, or where that is nothing, what the tables of earlier versions tell."""
    if tally.samples:
        return replace(
            tally.summary(node), files=tuple(store.files), problems=tuple(store.problems)
        )
    problems = store.problems
    problems += [f"{name}: no samples" for name in store.files]
    tables, used = TableTally(), []
    kinds: tuple[tuple[str, Any, Any, Any], ...] = (
        (filenames.DMON, DmonRows, tables.add_gpus, built and built.add_gpu),
        (filenames.VMSTAT, VmstatRows, tables.add_host, built and built.add_host),
    )
    paths = {suffix: filenames.path_of(directory, node, suffix) for suffix, *_ in kinds}
    for suffix, reader, add_all, add in kinds if any(p.exists() for p in paths.values()) else ():

        def take(rows: Iterable[Any], add_all: Any = add_all, add: Any = add) -> None:
            add_all(rows if add is None else _also(rows, add))

        if _consume(paths[suffix], reader, take, problems):
            used.append(paths[suffix].name)
    summary = tables.summary(node)
    if not summary.samples:
        # A head without samples still tells when it began and why there is no GPU.
        summary = tally.summary(node)
    return replace(summary, files=tuple(used), problems=tuple(problems))


def _also(rows: Iterable[Any], add: Callable[[Any], None]) -> Iterable[Any]:
    for row in rows:
        add(row)
        yield row


def _consume(
    path: Path, reader: Callable[[Iterable[str]], _Reader], take: Any, problems: list[str]
) -> bool:
    """Read one file; False when there is nothing in it to use. Adds to `problems`."""
    try:
        with open_regular_text(path) as file:
            rows = reader(file)
            take(rows)
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
        return False
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror}")
        return False
    problems += [f"{path.name}: {text}" for text in rows.remarks.texts()]
    return True
