"""Files that `nvidia-smi` and `vmstat` wrote in jobs that knew nothing of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitors.analysis.external_summary import TableTally
from monitors.analysis.read import NodeRecord
from monitors.external.other_tools import OtherTool
from monitors.external.recognize import Head, LogFormat, commands, open_log, read_head
from monitors.external.rows import Remarks

if TYPE_CHECKING:
    from monitors.analysis.external_trace import TableBuilder

_WANTED = {of_gpus: commands(of_gpus=of_gpus) for of_gpus in (True, False)}
"""What is read of GPUs, and of the node."""
_LINE = 60


@dataclass
class ExternalLogs:
    """What the files hold."""

    records: list[NodeRecord] = field(default_factory=list)
    """Of the nodes that have a sample."""
    refused: list[str] = field(default_factory=list)
    """Why a file cannot be used, and what to do, a sentence each."""


def read_external_logs(
    gpu: Sequence[Path], cpu: Sequence[Path], vmstat_unit: str | None = None
) -> ExternalLogs:
    """Read files of both kinds: the first of each belong to one node, the second to another.

    A file of the other kind is taken for what it is, and that is told. `vmstat_unit` is what was
    given to `vmstat -S`. Never raises for what files hold or lack.
    """
    names: set[str] = set()
    logs = ExternalLogs()
    for number in range(max(len(gpu), len(cpu))):
        files = [(True, gpu[number])] if number < len(gpu) else []
        files += [(False, cpu[number])] if number < len(cpu) else []
        record = _node(_name(files[0][1], names), files, vmstat_unit, logs.refused)
        if record is not None:
            logs.records.append(record)
    return logs


def _name(path: Path, taken: set[str]) -> str:
    """What to call a node: no table names it, so the file does."""
    stem = path.name.partition(".")[0] or path.name
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


def _node(
    name: str, files: Sequence[tuple[bool, Path]], unit: str | None, refused: list[str]
) -> NodeRecord | None:
    from monitors.analysis.external_trace import TableBuilder
    from monitors.analysis.timeline import reduced

    problems: list[str] = []
    notes: list[str] = []
    tally, built = TableTally(), TableBuilder()
    used: list[str] = []
    seen = set()
    for of_gpus, path in files:
        try:
            head = read_head(path)
            if not isinstance(head.written_by, LogFormat):
                refused.append(_refusal(path, head, of_gpus))
                continue
            log = head.written_by
            before = tally.rows
            remarks = _read(path, log, unit or head.unit, tally, built)
        except OSError as error:
            refused.append(f"{path.name} cannot be read: {error.strerror}")
            continue
        if tally.rows == before:
            refused += _prefixed(path, ["no samples in it", *remarks.texts()])
            continue
        if log.of_gpus != of_gpus:
            problems.append(f"{path.name} is from {log.command}, not from {_WANTED[of_gpus]}")
        seen.add(log.of_gpus)
        used.append(path.name)
        problems += _prefixed(path, remarks.texts())
        notes += remarks.notes
    if not used:
        return None
    problems += [f"no file of {what}" for of_gpus, what in _WANTED.items() if of_gpus not in seen]
    problems += built.problems()
    summary = tally.summary(name)
    notes += summary.notes
    summary = replace(summary, files=tuple(used), problems=tuple(problems), notes=tuple(notes))
    return NodeRecord(summary, reduced(built.trace(name)))


def _read(
    path: Path, log: LogFormat, unit: str | None, tally: TableTally, built: TableBuilder
) -> Remarks:
    with open_log(path) as file:
        reader = log.reader(file, unit)
        if log.of_gpus:
            tally.add_gpus(_also(reader, built.add_gpu))
        else:
            tally.add_host(_also(reader, built.add_host))
    return reader.remarks


def _refusal(path: Path, head: Head, of_gpus: bool) -> str:
    tool = head.written_by
    if isinstance(tool, OtherTool):
        why = f", {tool.why}" if tool.why else ""
        do = f". It is not read; record with: {tool.command}" if tool.command else ""
        return f"{path.name} is from {tool.name}{why}{do}"
    if not head.first_line.strip():
        return f"{path.name}: no samples in it, it is empty"
    line = head.first_line if len(head.first_line) <= _LINE else f"{head.first_line[:_LINE]}..."
    return (
        f"{path.name}: no samples in it: no header of {_WANTED[of_gpus]} in its first lines, "
        f"which begin with {line!r}"
    )


def _prefixed(path: Path, texts: Iterable[str]) -> list[str]:
    return [f"{path.name}: {text}" for text in texts]


def _also(rows: Iterable[Any], add: Callable[[Any], None]) -> Iterable[Any]:
    for row in rows:
        add(row)
        yield row
