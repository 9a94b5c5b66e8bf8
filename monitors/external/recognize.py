"""The logs of other tools that are read, a row each; and which of them a file is.

Another tool's log is a row of `LOGS` and its reader, in a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from monitors.external import dmon, query_gpu, vmstat
from monitors.external.other_tools import OtherTool, known_binary, known_tool
from monitors.external.rows import Remarks
from monitors.regular_file import open_regular

_HEAD_LINES = 200
"""Lines in which other programs are looked for."""
_MARK_BYTES = 8
_ENCODINGS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
"""By the first bytes: a shell on Windows writes what it redirects in two bytes a character."""


class LogReader(Protocol):
    """Iterates over the rows of a log: `GpuRow` where it is about GPUs, else `HostRow`."""

    remarks: Remarks
    """Whole once all rows were read."""

    def __iter__(self) -> Iterator[Any]:
        """Rows in the order of the file."""


@dataclass(frozen=True)
class LogFormat:
    """A log that is read."""

    command: str
    """The command that writes it."""
    of_gpus: bool
    """Whether it is about GPUs, not about the node."""
    is_header: Callable[[str], bool]
    """Returns whether a line is its header; in front of that a job may have printed anything."""
    reader: Callable[[TextIO, str | None], LogReader]
    """Returns its reader: of the open file, and a unit that rows do not have, None if unknown."""
    unit_in: Callable[[str], str | None] = lambda _: None
    """Returns that unit from a line above the header, where a command line stands there."""


LOGS = (
    LogFormat("nvidia-smi dmon", True, dmon.is_header, lambda file, _: dmon.DmonRows(file)),
    LogFormat(
        "vmstat",
        False,
        lambda line: vmstat.is_header(line.split(maxsplit=3)),
        vmstat.rows_of,
        vmstat.unit_in,
    ),
    LogFormat(
        "nvidia-smi --query-gpu",
        True,
        lambda line: bool(query_gpu.header(line)),
        lambda file, _: query_gpu.QueryGpuRows(file),
    ),
)
"""The first whose header a line is counts."""


def commands(*, of_gpus: bool) -> str:
    """Return in words which commands' logs are read; a program's name stands there once."""
    words: list[str] = []
    program = ""
    for log in LOGS:
        if log.of_gpus == of_gpus:
            before, program = program, log.command.partition(" ")[0]
            words.append(log.command.removeprefix(f"{before} ") if before else log.command)
    return " or ".join(words)


@dataclass(frozen=True)
class Head:
    """What a log tells up to its header."""

    written_by: LogFormat | OtherTool | None
    """None: no header of any known program."""
    first_line: str = ""
    """The first line that is not empty."""
    unit: str | None = None
    """What `LogFormat.unit_in` knows."""


def open_log(path: Path) -> TextIO:
    """Open a log as text, whatever bytes it holds. Raises OSError where it cannot be opened."""
    with open_regular(path, follow_links=True) as file:
        begin = file.read(4)
    encoding = next((name for mark, name in _ENCODINGS if begin.startswith(mark)), "utf-8")
    return path.open(encoding=encoding, errors="replace", newline="\n")


def read_head(path: Path) -> Head:
    """Return what a log tells up to its header. Raises OSError where it cannot be opened."""
    with open_regular(path, follow_links=True) as binary:
        packed = known_binary(binary.read(_MARK_BYTES))
    if packed is not None:
        return Head(packed)
    first, units = "", dict[str, str]()
    head: list[str] = []
    with open_log(path) as file:
        for line in _short(file):
            first = first or line.strip()
            log = next((log for log in LOGS if log.is_header(line)), None)
            if log is not None:
                return Head(log, first, units.get(log.command))
            for log in LOGS:
                unit = log.unit_in(line)
                if unit is not None:
                    units[log.command] = unit
            if len(head) < _HEAD_LINES:
                head.append(line.rstrip())
    return Head(known_tool(head), first)


def _short(file: TextIO) -> Iterator[str]:
    """Lines, of very long ones the begin: a binary file may have no line end at all."""
    while line := file.readline(4096):
        yield line
