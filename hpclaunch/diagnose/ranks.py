"""Which ranks failed, with which errors, and which of them failed first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from hpclaunch.diagnose.job_lines import JobLines
from hpclaunch.diagnose.launcher_exits import TERMINATED, exits
from hpclaunch.diagnose.log import Log, tidy
from hpclaunch.diagnose.rank_failure import RankFailure, is_collateral, others_failed
from hpclaunch.diagnose.rank_logs import (
    ABORTED,
    exceptions_in_log,
    exceptions_in_own_logs,
    modified,
    went_on_after,
    with_output,
)
from hpclaunch.diagnose.registry import COLLATERAL
from hpclaunch.diagnose.tracebacks import HEADER, ending
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.regular_file import read_regular, read_small_text

EXCEPTION = 1
"""Exit code of a Python program that nothing caught the exception of."""
MAX_REPORT_BYTES = 1 << 24
"""Of a rank's error file."""
MOST_LINES = 60
"""At the end of an error's text, in which a line without a traceback counts."""
SILENCE_S = 5.0
"""Seconds for which a rank that says why it failed comes before one that was killed."""


def started(folder: RunFolder) -> float:
    """Return when the script last began, in Unix seconds; 0 where it never did."""
    return modified(folder.nodes)


def failed_ranks(folder: RunFolder, log: Log, per_node: int) -> tuple[RankFailure, ...]:
    """Return every rank that failed, the one that began first; () where none left a trace."""
    names = host_names(folder)
    first = _first_node(folder)
    failures = {item.rank: item for item in _own_files(folder, names)}
    ends = list(exits(log, per_node, names))
    job = JobLines(log)
    if not failures:
        since = started(folder)
        found = exceptions_in_own_logs(folder, job, per_node, names, since)
        failures = {item.rank: item for item in found}
    if not failures:
        failures = {item.rank: item for item in exceptions_in_log(job, per_node, names)}
    seen = {end.rank for end in ends}
    failures = {rank: item for rank, item in failures.items() if rank in seen or _is_sure(item)}
    for end in ends:
        failure = failures.get(end.rank)
        if failure is None or _ended_otherwise(failure, end, job):
            failures[end.rank] = with_output(folder, job, end)
        else:
            failures[end.rank] = replace(
                failure,
                code=end.code,
                host=failure.host or end.host,
                at=failure.at if failure.is_first else end.at or failure.at,
                is_first=end.is_first or failure.is_first,
            )

    def order(item: RankFailure) -> tuple[bool, bool, bool, float]:
        elsewhere = first is not None and item.node != first
        at = item.at + (SILENCE_S if item.silent else 0)
        return item.is_collateral, elsewhere, not item.is_first, at

    ordered = sorted(failures.values(), key=order)
    if ordered and _ended_from_outside(ordered, log):
        ordered[0] = replace(ordered[0], is_collateral=False)
    return tuple(ordered)


def _ended_from_outside(ordered: list[RankFailure], log: Log) -> bool:
    """Return whether SIGTERM is all that is known: no rank failed that a launcher ends others for.

    A launcher ends the other ranks so where one has failed, and then that one is in the list.
    """
    ended = all(item.code == TERMINATED and item.silent for item in ordered)
    lost = (line for name in COLLATERAL for line in log.matches.get(name, ()))
    return ended and all(log.went_on(line) for line in lost)


def _is_sure(failure: RankFailure) -> bool:
    """Return whether an exception ended its rank, as far as its own output says."""
    return failure.is_first or HEADER.encode() in failure.text


def _ended_otherwise(failure: RankFailure, end: RankFailure, job: JobLines) -> bool:
    """Return whether a rank's exit tells more than the exception that it printed."""
    if not end.silent:
        # Python ends with 1 by what nothing caught: with another code the program ended itself.
        own_end = end.code not in {None, EXCEPTION} and not failure.is_first
        return own_end and job.progressed(failure.error, end.node or 0, end.local_rank or 0)
    if failure.is_collateral and end.code != ABORTED:
        return True
    return not end.is_collateral and went_on_after(failure, job)


def _own_files(folder: RunFolder, names: tuple[str, ...]) -> Iterator[RankFailure]:
    """Return what each failed rank of the built-in trainer wrote."""
    for path in folder.rank_errors():
        try:
            report = json.loads(read_regular(path, MAX_REPORT_BYTES))
            error = str(report["error"]).removeprefix("UserError: ")
            host = str(report["host"])
            text = str(report.get("traceback", "")) or error
            error = _with_reason(error, text)
            raw = text.encode("utf-8", errors="replace")
            yield RankFailure(
                error=tidy(error),
                text=raw,
                rank=int(report["rank"]),
                local_rank=int(report.get("local_rank", 0)),
                node=names.index(host) if host in names else None,
                host=tidy(host),
                at=_seconds(report["time"]),
                fix=tidy(str(report.get("fix", ""))),
                file=path,
                is_first=True,
                is_collateral=bool(report.get("collateral"))
                or is_collateral(error, raw)
                or others_failed(raw, int(report["rank"])),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue
        except RecursionError:  # brackets within brackets within brackets
            continue


def _with_reason(error: str, text: str) -> str:
    """Return an error with the reason that stands below it in the traceback, if it has none."""
    whole = ending(text.split("\n"), MOST_LINES)
    if whole is None or not (error.rstrip().endswith(":") or ". Last error: " in whole.error):
        return error
    return whole.error


def _seconds(value: object) -> float:
    """Take a time that a clock can show; raises ValueError for any other."""
    seconds = float(str(value))
    if not 0 <= seconds < 1e11:
        raise ValueError(value)
    return seconds


def host_names(folder: RunFolder) -> tuple[str, ...]:
    """Return the job's hosts by their numbers, whatever stands in the file."""
    try:
        text = read_small_text(folder.nodes, 1 << 22)
    except OSError:
        return ()
    return tuple(tidy(name) for name in text.split())


def _first_node(folder: RunFolder) -> int | None:
    """Return the number of the node whose launcher failed first."""
    try:
        return int(read_small_text(folder.first_failed_node).split()[1])
    except (OSError, ValueError, IndexError):
        return None
