"""A node's newest records as JSON lines: one object a line, appended one at a time.

Every line has `kind`; a value that is not known is left out.

    start   format, node, wall, mono, zone, utc_offset_s, interval_s, gpus, gpu_problem
    gpus    gpus: the table, where the driver answered only later
    tick    n, wall, mono, host: {...}, gpus: [{...}], own: {...}, vmstat: [17 numbers]
    note    wall, text
    end     wall, reason, ticks, missed, lost_writes, own
    journal the first line of a file, see `monitors.storage.formats.journal_header`

NODE.samples.jsonl holds the newest such lines. All before them are packed in NODE.samples.blocks,
see `monitors.storage.formats.block_writer`.

The names inside are those of the dataclasses in `monitors.records` and `monitors.samples`, which
say what each means and in which unit. A requeued job appends to the same file, beginning with a
`start` of its own. Lines of an unknown kind and unknown names are to be skipped: a later format
only adds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, TypeVar

from monitors.external.vmstat import COLUMNS
from monitors.records import (
    End,
    GpuInfo,
    GpuSample,
    GpuTable,
    HostSample,
    Note,
    OwnCost,
    Record,
    Start,
    Tick,
)
from monitors.samples.fields import WHOLE_NUMBERS

FORMAT = 1
_KINDS: dict[type[Record], str] = {
    Start: "start",
    GpuTable: "gpus",
    Tick: "tick",
    Note: "note",
    End: "end",
}
_NESTED = (GpuInfo, GpuSample, HostSample, OwnCost)
_NAMES = {kind: tuple(f.name for f in fields(kind)) for kind in (*_KINDS, *_NESTED)}
_TEXTS = {"uuid", "name", "pci_bus"}
_T = TypeVar("_T", GpuInfo, GpuSample, HostSample, OwnCost)


def line(record: Record) -> str:
    """Return a record as a line of text, line end included."""
    head: dict[str, Any] = {"kind": _KINDS[type(record)]}
    if isinstance(record, Start):
        head["format"] = FORMAT
    return json.dumps(head | _plain(record), separators=(",", ":")) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    names = _NAMES.get(type(value))
    if names is None:
        return value
    known = ((name, getattr(value, name)) for name in names)
    return {name: _plain(item) for name, item in known if item is not None}


class SamplesReader:
    """Iterates over the records of a file; `skipped` counts the lines that are no records.

    `lines` keep their line ends, as a file gives them: a last line without one is a torn one.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.skipped = 0

    def __iter__(self) -> Iterator[Record]:
        """Records in the order of the file."""
        for text in self._lines:
            if not text.strip():
                continue
            try:
                record = record_of(parsed(text))
            except (ValueError, KeyError, RecursionError):
                self.skipped += 1
                continue
            if record is not None:
                yield record


def parsed(text: str) -> Any:
    """Return the JSON value of a line. Raises ValueError for one that is torn, or no JSON."""
    if not text.endswith("\n"):
        raise ValueError("torn")
    return json.loads(text)


def record_of(raw: Any) -> Record | None:
    """Return the record of a parsed line; None for one of an unknown kind.

    Raises ValueError or KeyError for anything that is no record.
    """
    if not isinstance(raw, dict):
        raise ValueError("not an object")
    match raw["kind"]:
        case "start":
            return Start(
                node=_text(raw["node"]),
                wall=_need(raw["wall"]),
                mono=_need(raw["mono"]),
                zone=_text(raw["zone"]),
                utc_offset_s=int(_need(raw["utc_offset_s"])),
                interval_s=_need(raw["interval_s"]),
                gpus=_several(GpuInfo, raw.get("gpus", [])),
                gpu_problem=_text(raw["gpu_problem"]) if "gpu_problem" in raw else None,
            )
        case "gpus":
            return GpuTable(_several(GpuInfo, raw["gpus"]))
        case "tick":
            return Tick(
                n=int(_need(raw["n"])),
                wall=_need(raw["wall"]),
                mono=_need(raw["mono"]),
                host=_one(HostSample, raw["host"]),
                gpus=_several(GpuSample, raw["gpus"]) if "gpus" in raw else None,
                own=_one(OwnCost, raw["own"]) if "own" in raw else None,
                vmstat=_row(raw.get("vmstat")),
            )
        case "note":
            return Note(_need(raw["wall"]), _text(raw["text"]))
        case "end":
            return End(
                wall=_need(raw["wall"]),
                reason=_text(raw["reason"]),
                ticks=int(_need(raw["ticks"])),
                missed=int(_need(raw["missed"])),
                own=_one(OwnCost, raw["own"]),
                lost_writes=int(_need(raw.get("lost_writes", 0))),
            )
        case _:
            return None


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # No counter comes near 10^24; arithmetic on something larger could overflow. Not a number
    # is not smaller than anything.
    return value if abs(value) < 1e24 else None


def _need(value: Any) -> float:
    number = _number(value)
    if number is None:
        raise ValueError("a number is missing")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is missing")
    return value


def _one(kind: type[_T], raw: Any) -> _T:
    if not isinstance(raw, dict):
        raise ValueError("not an object")
    found: dict[str, Any] = {}
    for name in _NAMES[kind]:
        value = raw.get(name)
        if name in _TEXTS:
            found[name] = value if isinstance(value, str) else None
        else:
            number = _number(value)
            found[name] = int(number) if number is not None and name in WHOLE_NUMBERS else number
    if "index" in found and found["index"] is None:
        raise ValueError("a GPU without a number")
    return kind(**found)


def _row(raw: Any) -> tuple[int, ...] | None:
    """A whole row of vmstat's or none: it has no way to leave a column out."""
    if not isinstance(raw, list) or len(raw) != len(COLUMNS):
        return None
    numbers = [_number(value) for value in raw]
    whole = tuple(int(number) for number in numbers if number is not None and number >= 0)
    return whole if len(whole) == len(raw) else None


def _several(kind: type[_T], raw: Any) -> tuple[_T, ...]:
    if not isinstance(raw, list):
        raise ValueError("not a list")
    return tuple(_one(kind, item) for item in raw)
