"""Which ranks failed, with which errors, and which of them failed first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hpclaunch.diagnose.launcher_exits import exits
from hpclaunch.diagnose.log import Log, tidy
from hpclaunch.diagnose.rank_failure import (
    RankFailure,
    exception_in,
    is_collateral,
    last_exception,
    others_failed,
    traceback_start,
)
from hpclaunch.run.folder import RunFolder

TAIL = 2**16
"""Bytes read from the end of a rank's own log: the reason stands there."""
ENDING = 60
"""Lines at the end of it in which an exception counts as what the rank ended with."""
SLACK = 2.0
"""Seconds that the clocks of a file system's servers may be apart."""
LAST = 12
"""Lines at the end of the log that are shown of a rank that was killed."""
RANKS = 1024
"""Logs of ranks that are looked into."""
ABORTED = -6
"""Exit code of a rank that gave itself up: NCCL's watchdog ends its process so."""


def started(folder: RunFolder) -> float:
    """Return when the script last began, in Unix seconds; 0 where it never did."""
    return _modified(folder.nodes)


def failed_ranks(folder: RunFolder, log: Log, per_node: int) -> tuple[RankFailure, ...]:
    """Return every rank that failed, the one that began first; () where none left a trace."""
    names = host_names(folder)
    first = _first_node(folder)
    failures = {item.rank: item for item in _own_files(folder, names)}
    ends = list(exits(log, per_node, names))
    if not failures:
        failures = {item.rank: item for item in _own_logs(folder, per_node, names)}
    for end in ends:
        failure = failures.get(end.rank)
        if failure is None or (failure.is_collateral and end.silent and end.code != ABORTED):
            failures[end.rank] = _with_output(folder, end)
        else:
            failures[end.rank] = replace(failure, code=end.code, host=failure.host or end.host)

    def order(item: RankFailure) -> tuple[bool, bool, bool, float]:
        elsewhere = first is not None and item.node != first
        return item.is_collateral, elsewhere, item.silent, item.at

    return tuple(sorted(failures.values(), key=order))


def _own_files(folder: RunFolder, names: tuple[str, ...]) -> Iterator[RankFailure]:
    """Return what each failed rank of the built-in trainer wrote."""
    for path in folder.rank_errors():
        try:
            report = json.loads(path.read_bytes())
            error = str(report["error"]).removeprefix("UserError: ")
            host = str(report["host"])
            text = str(report.get("traceback", "")) or error
            yield RankFailure(
                error=tidy(error),
                text=text.encode("utf-8", errors="replace"),
                rank=int(report["rank"]),
                local_rank=int(report.get("local_rank", 0)),
                node=names.index(host) if host in names else None,
                host=tidy(host),
                at=_seconds(report["time"]),
                fix=tidy(str(report.get("fix", ""))),
                file=path,
                is_collateral=bool(report.get("collateral"))
                or is_collateral(error)
                or others_failed(text.encode("utf-8", errors="replace"), int(report["rank"])),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue
        except RecursionError:  # brackets within brackets within brackets
            continue


def _own_logs(folder: RunFolder, per_node: int, names: tuple[str, ...]) -> Iterator[RankFailure]:
    """The ranks whose own log, as torchrun keeps it of their stderr, ends in an exception."""
    since = started(folder)
    for node_folder in sorted((folder.logs / "ranks").glob("node-*")):
        number = node_folder.name.removeprefix("node-")
        if not (number.isascii() and number.isdigit()):
            continue
        node = int(number)
        starts = sorted(node_folder.glob("*/attempt_*"), key=_modified)
        files = starts[-1].glob("*/stderr.log") if starts else ()
        for file in [file for file in sorted(files)[:RANKS] if _modified(file) >= since - SLACK]:
            local = file.parent.name
            if not (local.isascii() and local.isdigit()):
                continue
            ended = _ending(file)
            if ended is not None:
                rank = node * per_node + int(local)
                yield replace(
                    ended,
                    is_collateral=ended.is_collateral or others_failed(ended.text, rank),
                    rank=rank,
                    local_rank=int(local),
                    node=node,
                    host=names[node] if node < len(names) else None,
                )


def _ending(file: Path) -> RankFailure | None:
    """Read what a rank ended with, None where that is no exception."""
    text, whole = _tail(file)
    lines = text.decode("utf-8", errors="replace").split("\n")
    at = last_exception(lines[-ENDING:])
    if at is None:
        return None
    at += max(0, len(lines) - ENDING)
    begin = traceback_start(lines, at)
    error = exception_in(lines[at]) or ""
    return RankFailure(
        error=error,
        text="\n".join(lines[begin:]).encode(),
        at=_modified(file),
        file=file,
        line=at + 1 if whole else None,
        before=begin if whole else None,
        is_collateral=is_collateral(error),
    )


def _with_output(folder: RunFolder, end: RankFailure) -> RankFailure:
    """Return a rank's exit with its last output, though that was no exception."""
    place = folder.logs / "ranks" / f"node-{end.node or 0}"
    files = sorted(place.glob(f"*/attempt_*/{end.local_rank}/stderr.log"), key=_modified)
    text = _tail(files[-1])[0] if files else b""
    text = b"\n".join(text.rstrip().split(b"\n")[-LAST:])
    gave_up = end.code == ABORTED and is_collateral(text.decode("utf-8", errors="replace"))
    return replace(end, text=text, is_collateral=end.is_collateral or gave_up)


def _tail(file: Path) -> tuple[bytes, bool]:
    """Return the end of a file, and whether that is all of it; b'' where it cannot be read."""
    try:
        with file.open("rb") as stream:
            start = stream.seek(max(0, stream.seek(0, 2) - TAIL))
            return stream.read(), start == 0
    except OSError:
        return b"", True


def _seconds(value: object) -> float:
    """Take a time that a clock can show; raises ValueError for any other."""
    seconds = float(str(value))
    if not 0 <= seconds < 1e11:
        raise ValueError(value)
    return seconds


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def host_names(folder: RunFolder) -> tuple[str, ...]:
    """Return the job's hosts by their numbers, whatever stands in the file."""
    try:
        text = folder.nodes.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(tidy(name) for name in text.split())


def _first_node(folder: RunFolder) -> int | None:
    """Return the number of the node whose launcher failed first."""
    try:
        return int(folder.first_failed_node.read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return None
