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

_EXCEPTION = re.compile(
    r"^(?:\[rank\d+\]: ?)?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b.*)$"
)
"""How a traceback ends; torch puts the rank in front of it."""
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
    written = sorted(_own_files(folder), key=lambda found: found[0])
    return written[0][1] if written else _from_log(folder)


def _own_files(folder: RunFolder) -> Iterator[tuple[tuple[bool, float], Failure]]:
    """Give what each failed rank of the built-in trainer wrote, with what orders them.

    A rank that failed because another had died says so; it comes after those that did not.
    """
    for path in folder.rank_errors():
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            order = bool(said.get("collateral")), float(said["time"])
            error = str(said["error"]).removeprefix("UserError: ")
            yield order, Failure(error, int(said["rank"]), str(said["host"]), path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue


def _from_log(folder: RunFolder) -> Failure | None:
    """Read the launcher's account of an own program's failure, or the script's last words."""
    log = folder.log()
    if log is None:
        return None
    lines = [parse_line(raw) for raw in _tail(log).splitlines()]
    texts = [line.text for line in lines]
    first_node = _first_node(folder)
    # Each node's launcher names a cause; the others failed because of the first node's.
    starts = [i for i, text in enumerate(texts) if text.startswith("Root Cause (first observed")]
    starts.sort(key=lambda i: lines[i].node != first_node)
    if not starts:
        said = [text for text in texts if text.startswith(("hpclaunch: ", "sbatch: ", "bash: "))]
        error = said[-1] if said else _last_exception(texts)
        return Failure(error, file=log) if error else None
    node = lines[starts[0]].node
    block = [line.text for line in lines[starts[0] :] if line.node == node][:8]
    rank = _first(_CAUSE_RANK, block)
    code = _first(_CAUSE_CODE, block)
    host = _first(_CAUSE_HOST, block)
    words = _rank_words(folder, int(rank.group(2)), node) if rank else None
    return Failure(
        error=words or (f"exit code {code.group(1)}" if code else "failed without a word"),
        rank=int(rank.group(1)) if rank else None,
        host=host.group(1) if host else None,
        file=log,
    )


def _first_node(folder: RunFolder) -> int | None:
    """Give the number of the node whose launcher failed first."""
    try:
        return int(folder.first_failure.read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _first(pattern: re.Pattern[str], lines: list[str]) -> re.Match[str] | None:
    return next((match for line in lines if (match := pattern.match(line))), None)


def _rank_words(folder: RunFolder, local_rank: int, node: int | None) -> str | None:
    """Give the exception that ended one rank, from the file that torchrun keeps of its stderr."""
    pattern = f"node-{'*' if node is None else node}/*/attempt_*/{local_rank}/stderr.log"
    for file in sorted((folder.logs / "ranks").glob(pattern)):
        words = _last_exception(_tail(file).splitlines())
        if words:
            return words
    return None


def _last_exception(lines: list[str]) -> str | None:
    """Give the last line that names an exception, as a traceback ends."""
    found = (
        match.group(1).strip() for line in reversed(lines) if (match := _EXCEPTION.match(line))
    )
    return next(found, None)


def _tail(path: Path) -> str:
    """Read the end of a file; '' where it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - TAIL))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
