"""Files that `nvidia-smi dmon` and `vmstat` wrote in jobs that knew nothing of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitors.analysis.external_summary import TableTally
from monitors.analysis.read import NodeRecord, consume
from monitors.external.dmon import DmonReader
from monitors.external.vmstat import VmstatReader

if TYPE_CHECKING:
    from monitors.analysis.external_trace import TableBuilder

_HEAD_LINES = 200
_WRITERS = {"dmon": "nvidia-smi dmon", "vmstat": "vmstat"}


def read_external_logs(gpu: Sequence[Path], cpu: Sequence[Path]) -> list[NodeRecord]:
    """Read files of both kinds: the first of each belong to one node, the second to another.

    A file of the other kind is taken for what it is, and that is told. Never raises for what files
    hold or lack.
    """
    names: set[str] = set()
    records = []
    for number in range(max(len(gpu), len(cpu))):
        files = [("dmon", gpu[number])] if number < len(gpu) else []
        files += [("vmstat", cpu[number])] if number < len(cpu) else []
        records.append(_node(_name(files[0][1], names), files))
    return records


def _name(path: Path, taken: set[str]) -> str:
    """What to call a node: neither table names it, so the file does."""
    stem = path.name.partition(".")[0] or path.name
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


def _node(name: str, files: Sequence[tuple[str, Path]]) -> NodeRecord:
    from monitors.analysis.external_trace import TableBuilder
    from monitors.analysis.timeline import reduced

    problems: list[str] = []
    tally, built = TableTally(), TableBuilder()
    used = []
    seen = set()
    for meant, path in files:
        kind = _kind(path)
        if kind is None and path.is_file():
            problems.append(f"{path.name}: no header as {_WRITERS[meant]} writes it")
        if kind is not None and kind != meant:
            problems.append(f"{path.name} is from {_WRITERS[kind]}, not from {_WRITERS[meant]}")
        seen.add(kind or meant)
        reader, take = _ways(kind or meant, tally, built)
        if consume(path, reader, take, problems):
            used.append(path.name)
    for kind, program in _WRITERS.items():
        if kind not in seen:
            problems.append(f"no file of {program}")
    problems += built.problems()
    summary = replace(tally.summary(name), files=tuple(used), problems=tuple(problems))
    return NodeRecord(summary, reduced(built.trace(name)))


def _ways(kind: str, tally: TableTally, built: TableBuilder) -> tuple[Any, Callable[[Any], None]]:
    if kind == "dmon":
        return DmonReader, lambda rows: tally.add_dmon(_also(rows, built.add_dmon))
    return VmstatReader, lambda rows: tally.add_vmstat(_also(rows, built.add_vmstat))


def _also(rows: Iterable[Any], add: Callable[[Any], None]) -> Iterable[Any]:
    for row in rows:
        add(row)
        yield row


def _kind(path: Path) -> str | None:
    """Which program wrote a file, by its first header; None where it has none."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for _, line in zip(range(_HEAD_LINES), file, strict=False):
                words = line.lower().replace(",", " ").replace("#", " ").split()
                if line.lstrip().startswith("#") and "gpu" in words:
                    return "dmon"
                if words[:2] == ["r", "b"]:
                    return "vmstat"
    except OSError:
        return None
    return None
