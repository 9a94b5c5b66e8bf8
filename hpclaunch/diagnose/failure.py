"""Which rank failed first, and with which words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lines import parse_line

TAIL = 65536
"""Bytes read from the end of a log: the reason stands there."""

_EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning)\b.*)$")
_CAUSE_RANK = re.compile(r"^\s*rank\s*:\s*(\d+) \(local_rank: (\d+)\)")
_CAUSE_HOST = re.compile(r"^\s*host\s*:\s*(\S+)")
_CAUSE_CODE = re.compile(r"^\s*exitcode\s*:\s*(-?\d+)")


@dataclass(frozen=True)
class Failure:
    """The first failure that left a trace."""

    error: str
    """One line: the exception and its message, or the launcher's words."""
    rank: int | None = None
    """Global rank; None where only a node, or nothing, is known."""
    host: str | None = None
    file: Path | None = None
    """Where to read more."""


def first_failure(folder: RunFolder) -> Failure | None:
    """Give the first failing rank's error: from the ranks' own files, else from the log."""
    return min(_own_files(folder), default=(0.0, None), key=lambda pair: pair[0])[1] or _from_log(
        folder
    )


def _own_files(folder: RunFolder) -> Iterator[tuple[float, Failure | None]]:
    """Give what each failed rank of the built-in trainer wrote, with the time of it."""
    for path in folder.rank_errors():
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            when, error = float(said["time"]), str(said["error"])
            yield when, Failure(error, int(said["rank"]), str(said["host"]), path)
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _from_log(folder: RunFolder) -> Failure | None:
    """Read the launcher's account of an own program's failure, or the script's last words."""
    log = folder.log()
    if log is None:
        return None
    lines = [parse_line(raw).text for raw in _tail(log).splitlines()]
    start = next(
        (i for i, line in enumerate(lines) if line.startswith("Root Cause (first observed")), None
    )
    if start is None:
        said = [line for line in lines if line.startswith(("hpclaunch: ", "sbatch: ", "bash: "))]
        error = said[-1] if said else _last_exception(lines)
        return Failure(error, file=log) if error else None
    block = lines[start : start + 8]
    rank = _first(_CAUSE_RANK, block)
    code = _first(_CAUSE_CODE, block)
    host = _first(_CAUSE_HOST, block)
    last = _rank_words(folder, int(rank.group(2)), host.group(1) if host else "") if rank else None
    error = last or f"exit code {code.group(1)}" if code else "failed without a word"
    return Failure(
        error, int(rank.group(1)) if rank else None, host.group(1) if host else None, log
    )


def _first(pattern: re.Pattern[str], lines: list[str]) -> re.Match[str] | None:
    return next((match for line in lines if (match := pattern.match(line))), None)


def _rank_words(folder: RunFolder, local_rank: int, host: str) -> str | None:
    """Give the exception that ended one rank, from the file that torchrun keeps of its stderr."""
    names = folder.node_names()
    node = next((i for i, name in enumerate(names) if host.partition(".")[0] == name), None)
    pattern = f"node-{'*' if node is None else node}/*/attempt_*/{local_rank}/stderr.log"
    files = sorted((folder.logs / "ranks").glob(pattern))
    for file in files:
        words = _last_exception(_tail(file).splitlines())
        if words:
            return words
    return None


def _last_exception(lines: list[str]) -> str | None:
    """Give the last line that names an exception, as a traceback ends."""
    return next((line.strip() for line in reversed(lines) if _EXCEPTION.match(line)), None)


def _tail(path: Path) -> str:
    """Read the end of a file; '' where it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - TAIL))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
