"""The launcher's lines in the log, on each node, about the rank that it saw fail first."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hpclaunch.diagnose.cause import Clue
from hpclaunch.diagnose.log import Log
from hpclaunch.diagnose.rank_failure import RankFailure
from hpclaunch.run.lines import parse_line

TERMINATED = -15
"""Exit code of a rank that its launcher ended because another had failed."""

_EXITED = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)")
_CAUSE_RANK = re.compile(r"^\s*rank\s*:\s*(\d+) \(local_rank: (\d+)\)")
_CAUSE_HOST = re.compile(r"^\s*host\s*:\s*(\S+)")
_CAUSE_TIME = re.compile(r"^\s*time\s*:\s*(\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d)")
_CAUSE_CODE = re.compile(r"^\s*exitcode\s*:\s*(-?\d+)")


def exits(log: Log, per_node: int, names: tuple[str, ...]) -> Iterator[RankFailure]:
    """Return the end of the first rank to fail on each node."""
    for line in log.matches.get("exited", ()):
        match = _EXITED.search(line.text)
        if match:
            node = line.node or 0
            host = names[node] if node < len(names) else None
            code, local = int(match.group(1)), int(match.group(2))
            yield _exit(line, node * per_node + local, local, node, host, code)
    for line in log.matches.get("root", ()):
        block = _block(log, line)
        ids, ended, at = (_first(p, block) for p in (_CAUSE_RANK, _CAUSE_CODE, _CAUSE_HOST))
        if ids and ended:
            rank, local = int(ids.group(1)), int(ids.group(2))
            host = at.group(1) if at else None
            when = _first(_CAUSE_TIME, block)
            yield replace(
                _exit(line, rank, local, line.node, host, int(ended.group(1))),
                at=_seconds(when.group(1)) if when else 0.0,
                is_first=True,
            )


def _exit(
    line: Clue, rank: int, local: int, node: int | None, host: str | None, code: int
) -> RankFailure:
    ended = code == TERMINATED
    return RankFailure(
        error="" if code < 0 else f"exit code {code}",
        rank=rank,
        local_rank=local,
        node=node,
        host=host,
        code=code,
        file=line.file,
        line=line.line,
        is_collateral=ended,
    )


def _seconds(text: str) -> float:
    """Return Unix seconds of a time on this machine's clock; 0 of one that cannot be."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d_%H:%M:%S"))
    except (ValueError, OverflowError):
        return 0.0


def _block(log: Log, line: Clue) -> list[str]:
    """Return the lines of the same node that come after one."""
    if line.line is None or line.line <= log.begin:
        return []
    lines = log.text.split(b"\n", line.line - log.begin + 40)[line.line - log.begin :]
    parsed = [parse_line(raw.decode("utf-8", errors="replace")) for raw in lines[:40]]
    return [other.text for other in parsed if other.node == line.node][:8]


def _first(pattern: re.Pattern[str], lines: Iterable[str]) -> re.Match[str] | None:
    return next((match for line in lines if (match := pattern.match(line))), None)
