"""CSV, JSON lines and OpenMetrics."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO

from monitors.exports.families import END, FAMILIES, labels
from monitors.exports.rows import RecordedNode, SampleRow, rows
from monitors.samples.fields import GPU_FIELDS, HOST_FIELDS

_HEAD = ("time", "node", "gpu")
_SPOOL = 1 << 20


def csv_text(sources: Iterable[RecordedNode]) -> Iterator[str]:
    """One table: rows of the host have no `gpu`; what is not known is blank."""
    names = (*GPU_FIELDS, *HOST_FIELDS)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def line(cells: Iterable[object]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()

    yield line((*_HEAD, *names))
    for source in sources:
        for row in rows(source):
            gpu = "" if row.gpu is None else row.gpu
            values = (_no_formula(row.values.get(name, "")) for name in names)
            yield line((row.time, _no_formula(row.node), gpu, *values))


_BEGINS_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""The last four are wide forms of the first four, which some spreadsheets take for them."""


def _no_formula(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: names come from whoever wrote them."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in _BEGINS_FORMULA else cell


def json_text(sources: Iterable[RecordedNode]) -> Iterator[str]:
    """One object a line; what is not known is left out."""
    for source in sources:
        for row in rows(source):
            head: dict[str, str | int] = {"time": row.time, "node": row.node}
            if row.gpu is not None:
                head["gpu"] = row.gpu
            if row.uuid is not None:
                head["uuid"] = row.uuid
            yield json.dumps(head | row.values, separators=(",", ":")) + "\n"


def openmetrics_text(sources: Iterable[RecordedNode]) -> Iterator[str]:
    """With the times of the samples, so that it can be loaded after the fact.

    Of a clock that was set back the samples until it had caught up are left out: the format wants
    times that grow.
    """
    with ExitStack() as stack:
        # The format wants all samples of a family together, and in it those of one GPU; the
        # record has them by time. So one node at a time is held in memory.
        spools: dict[str, IO[str]] = {}
        for source in sources:
            for (name, where), (walls, values) in _series(source).items():
                if name not in spools:
                    spools[name] = stack.enter_context(
                        tempfile.SpooledTemporaryFile(_SPOOL, "w+", encoding="utf-8")
                    )
                for wall, value in zip(walls, values, strict=True):
                    if FAMILIES[name].takes(value):
                        shown = FAMILIES[name].scaled(value)
                        spools[name].write(f"{where} {shown!r} {wall:.3f}\n")
        for name, family in FAMILIES.items():
            if name not in spools:
                continue
            yield family.head()
            spools[name].seek(0)
            for line in spools[name]:
                yield family.sample_name + line
    yield END


def _series(source: RecordedNode) -> dict[tuple[str, str], tuple[array[float], array[float]]]:
    """Times and values of one node by value's name and labels."""
    found: dict[tuple[str, str], tuple[array[float], array[float]]] = {}
    for row in rows(source):
        where = _labels(row)
        for name, value in row.values.items():
            walls, values = found.setdefault((name, where), (array("d"), array("d")))
            if not walls or row.wall > walls[-1] + 0.0005:
                walls.append(row.wall)
                values.append(value)
    return found


def _labels(row: SampleRow) -> str:
    pairs = [("node", row.node)]
    if row.gpu is not None:
        pairs.append(("gpu", str(row.gpu)))
        if row.uuid is not None:
            pairs.append(("uuid", row.uuid))
    return labels(pairs)
