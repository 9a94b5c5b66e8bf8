"""Which program wrote a log, by its first lines; and reading it with the reader for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from monitors.external import dmon, query_gpu, vmstat
from monitors.external.other_tools import OtherTool, known_tool
from monitors.external.query_gpu import QueryGpuRows

_HEAD_LINES = 200
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
    """What the first lines of a log tell."""

    written_by: LogFormat | OtherTool | None
    """None: no header of any known program."""
    first_line: str = ""
    """The first line that is not empty."""
    vmstat_unit: str | None = None
    """What a command line above the table gave to `vmstat -S`."""


def open_log(path: Path) -> TextIO:
    """Open a log as text, whatever bytes it holds. Raises OSError where it cannot be opened."""
    with path.open("rb") as file:
        begin = file.read(4)
    encoding = next((name for mark, name in _ENCODINGS if begin.startswith(mark)), "utf-8")
    return path.open(encoding=encoding, errors="replace", newline="\n")


def read_head(path: Path) -> Head:
    """Return what the first lines of a log tell. Raises OSError where it cannot be opened."""
    with open_log(path) as file:
        lines = [line for _, line in zip(range(_HEAD_LINES), _short(file), strict=False)]
    first = next((line.strip() for line in lines if line.strip()), "")
    for number, line in enumerate(lines):
        if dmon.is_header(line):
            return Head(LogFormat.DMON, first)
        if vmstat.is_header(line.split()):
            units = (vmstat.unit_in(text) for text in lines[:number])
            return Head(LogFormat.VMSTAT, first, next(filter(None, units), None))
        if query_gpu.header(line):
            return Head(LogFormat.QUERY_GPU, first)
    return Head(known_tool([line.rstrip() for line in lines]), first)


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
