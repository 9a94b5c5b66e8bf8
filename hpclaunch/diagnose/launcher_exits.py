"""What the launcher of each node says in the log of the rank that it saw fail first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hpclaunch.diagnose.cause import Clue
from hpclaunch.diagnose.log import Log
from hpclaunch.diagnose.words import RankFailure
from hpclaunch.run.lines import parse_line

TERMINATED = -15
"""Exit code of a rank that its launcher ended because another had failed."""

_EXITED = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)")
_CAUSE_RANK = re.compile(r"^\s*rank\s*:\s*(\d+) \(local_rank: (\d+)\)")
_CAUSE_HOST = re.compile(r"^\s*host\s*:\s*(\S+)")
_CAUSE_CODE = re.compile(r"^\s*exitcode\s*:\s*(-?\d+)")


def exits(log: Log, per_node: int, names: tuple[str, ...]) -> Iterator[RankFailure]:
    """Return the end of the first rank to fail on each node."""
    for said in log.signs.get("exited", ()):
        match = _EXITED.search(said.text)
        if match:
            node = said.node or 0
            host = names[node] if node < len(names) else None
            code, local = int(match.group(1)), int(match.group(2))
            yield _exit(said, node * per_node + local, local, node, host, code)
    for said in log.signs.get("root", ()):
        block = _block(log, said)
        ids, ended, at = (_first(p, block) for p in (_CAUSE_RANK, _CAUSE_CODE, _CAUSE_HOST))
        if ids and ended:
            rank, local = int(ids.group(1)), int(ids.group(2))
            host = at.group(1) if at else None
            yield _exit(said, rank, local, said.node, host, int(ended.group(1)))


def _exit(
    said: Clue, rank: int, local: int, node: int | None, host: str | None, code: int
) -> RankFailure:
    ended = code == TERMINATED
    return RankFailure(
        error="" if code < 0 else f"exit code {code}",
        rank=rank,
        local_rank=local,
        node=node,
        host=host,
        code=code,
        file=said.file,
        line=said.line,
        follows=ended,
    )


def _block(log: Log, said: Clue) -> list[str]:
    """Return the lines of the same node that come after one."""
    if said.line is None or said.line <= log.begin:
        return []
    lines = log.text.split(b"\n", said.line - log.begin + 40)[said.line - log.begin :]
    parsed = [parse_line(raw.decode("utf-8", errors="replace")) for raw in lines[:40]]
    return [line.text for line in parsed if line.node == said.node][:8]


def _first(pattern: re.Pattern[str], lines: Iterable[str]) -> re.Match[str] | None:
    return next((match for line in lines if (match := pattern.match(line))), None)
