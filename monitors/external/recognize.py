"""Which program wrote a log, by its first lines; and reading it with the reader for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from monitors.external import dmon, query_gpu, vmstat
from monitors.external.other_tools import OtherTool, known_binary, known_tool
from monitors.external.query_gpu import QueryGpuRows
from monitors.regular_file import open_regular

_HEAD_LINES = 200
"""Lines in which other programs are looked for."""
_MARK_BYTES = 8
_ENCODINGS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
"""By the first bytes: a shell on Windows writes what it redirects in two bytes a character."""


class LogFormat(StrEnum):
    """The logs that are read, by the command that writes them."""

    DMON = "nvidia-smi dmon"
    QUERY_GPU = "nvidia-smi --query-gpu"
    VMSTAT = "vmstat"

    @property
    def of_gpus(self) -> bool:
        """Whether it is about GPUs, not about the node."""
        return self is not LogFormat.VMSTAT


@dataclass(frozen=True)
class Head:
    """What a log tells up to its header."""

    written_by: LogFormat | OtherTool | None
    """None: no header of any known program."""
    first_line: str = ""
    """The first line that is not empty."""
    vmstat_unit: str | None = None
    """What a command line above the table gave to `vmstat -S`."""


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
    first, unit = "", None
    head: list[str] = []
    with open_log(path) as file:
        for line in _short(file):
            first = first or line.strip()
            log = _header_of(line)
            if log is not None:
                return Head(log, first, unit if log is LogFormat.VMSTAT else None)
            unit = vmstat.unit_in(line) or unit
            if len(head) < _HEAD_LINES:
                head.append(line.rstrip())
    return Head(known_tool(head), first)


def _header_of(line: str) -> LogFormat | None:
    """Which log's header a line is, if any; in front of it a job may have printed anything."""
    if dmon.is_header(line):
        return LogFormat.DMON
    if vmstat.is_header(line.split(maxsplit=3)):
        return LogFormat.VMSTAT
    return LogFormat.QUERY_GPU if query_gpu.header(line) else None


def reader_of(log: LogFormat, file: TextIO, unit: str | None, left_out: list[int]) -> LogReader:
    """Return the reader for a log; `unit` and `left_out` are as `VmstatRows` has them."""
    if log is LogFormat.DMON:
        return dmon.DmonRows(file)
    if log is LogFormat.QUERY_GPU:
        return QueryGpuRows(file)
    return vmstat.VmstatRows(file, unit, left_out)


LogReader = dmon.DmonRows | QueryGpuRows | vmstat.VmstatRows


def _short(file: TextIO) -> Iterator[str]:
    """Lines, of very long ones the begin: a binary file may have no line end at all."""
    while line := file.readline(4096):
        yield line
