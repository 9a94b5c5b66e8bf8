"""What each rank printed last: its own log as torchrun keeps it, or its lines in the job's log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hpclaunch.diagnose import patterns, tracebacks
from hpclaunch.diagnose.job_lines import JobLines, unranked
from hpclaunch.diagnose.last_words import NEAR, argument_error, last_words, without_noise
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.rank_failure import RankFailure, is_collateral, others_failed
from hpclaunch.diagnose.tracebacks import ending
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.regular_file import read_end

TAIL = 2**16
"""Bytes read from the end of a rank's own log: the reason stands there."""
ENDING = 60
"""Lines at the end of it in which an exception without a traceback counts."""
CONTEXT = 40
"""Lines before a traceback in which libraries may say what led to it."""
SLACK = 2.0
"""Seconds that the clocks of a file system's servers may be apart."""
LAST = 12
"""Lines at the end of the output that are looked into of a rank without an exception."""
LAST_ACT = 80
"""The same of a rank that aborted: C++ prints its whole stack."""
RANKS = 1024
"""Logs of ranks that are looked into."""
ABORTED = -6
"""Exit code of a rank that gave itself up: NCCL's watchdog ends its process so."""

ENGINE = 200
"""Lines before a traceback among which vLLM's engine prints its own."""
_ENGINE = re.compile(
    r"(?:\[rank\d+\]: ?)?\(EngineCore\w*(?: pid=\d+)?\) *(?:ERROR [\d-]+ [\d:]+ \[\S+\] ?)?(.*\S)"
)
_OF_WORKER = re.compile(
    r"(?:DataLoader worker|abruptly died|process pool|BrokenPipeError|^EOFError"
    r"|ConnectionResetError|ProcessExitedException|_queue\.Empty)"
)
"""An error that says no more than that a process of the rank's own is gone."""
_SUBPROCESS = re.compile(r"^(?:Process \S+-\d+:|Exception in thread QueueFeederThread)")
"""How the traceback of a process that a rank has started begins, or of what feeds its queue."""
_ABORTING = re.compile(
    r"(?:^|\]:)\[[EF]\d{3,4} |\[[EF] \w+\.cpp|terminate called|Fatal Python error|^:0:\w+\.cpp +:"
    r"|(?:HW Exception|Memory access fault) by GPU|\|CCL_ERROR\|"
)


def modified(path: Path) -> float:
    """Return when a file was last written, in Unix seconds; 0 where it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def exceptions_in_own_logs(
    folder: RunFolder, job: JobLines, per_node: int, names: tuple[str, ...], since: float
) -> Iterator[RankFailure]:
    """Yield the ranks whose own log ends in an exception that they did not survive.

    `since`: Unix seconds; older logs are of an earlier start.
    """
    for node, local, file in _own_logs(folder, since):
        text, whole = _tail(file)
        lines = text.decode("utf-8", errors="replace").split("\n")
        numbers = list(range(1, len(lines) + 1)) if whole else None
        failure = _failure(lines, numbers, file, node * per_node + local)
        if failure is not None and not job.went_on(failure.error):
            host = names[node] if node < len(names) else None
            yield replace(failure, local_rank=local, node=node, host=host, at=modified(file))


def exceptions_in_log(
    job: JobLines, per_node: int, names: tuple[str, ...]
) -> Iterator[RankFailure]:
    """Yield the ranks whose lines in the job's log end in an exception."""
    for (node, local), (numbers, lines) in job.by_rank.items():
        failure = _failure(lines, numbers, job.log.file, node * per_node + local)
        if failure is not None and not job.went_on(failure.error):
            host = names[node] if node < len(names) else None
            yield replace(failure, local_rank=local, node=node, host=host, before=None)


def with_output(folder: RunFolder, job: JobLines, end: RankFailure) -> RankFailure:
    """Return a rank's exit with what it printed last, though that was no exception."""
    place = folder.logs / "ranks" / f"node-{end.node or 0}"
    files = sorted(place.glob(f"*/attempt_*/{end.local_rank}/stderr.log"), key=modified)
    if files:
        lines = _tail(files[-1])[0].decode("utf-8", errors="replace").rstrip().split("\n")
    else:
        lines = job.by_rank.get((end.node or 0, end.local_rank or 0), ([], []))[1]
    if end.error:
        return _with_words(lines, job, end)
    last = lines[-LAST:]
    if end.code == ABORTED:
        last = [line for line in _last_act(lines) if not job.went_on(line)]
    gave_up = end.code == ABORTED and bool(patterns.collateral("\n".join(last).encode()))
    return replace(end, text="\n".join(last).encode(), is_collateral=end.is_collateral or gave_up)


def _with_words(lines: list[str], job: JobLines, end: RankFailure) -> RankFailure:
    """Return the exit of a rank that left an exit code with what it said as it ended."""
    lines = [tracebacks.unranked(line) for line in lines]
    last_line = argument_error(lines) or last_words(lines)
    if not last_line or job.went_on(last_line):
        return end
    at = max(at for at, line in enumerate(lines) if last_line in line)
    return replace(
        end,
        error=f"{tidy(last_line)} ({end.error})",
        text="\n".join(lines[at:]).encode(),
        context="\n".join(without_noise(lines[max(0, at - NEAR) : at])).encode(),
        is_collateral=end.is_collateral or is_collateral(last_line, last_line.encode()),
    )


def _last_act(lines: list[str]) -> list[str]:
    """Return an aborting program's output from the first error of its end on."""
    last = lines[-LAST_ACT:]
    for at, line in enumerate(last):
        if _ABORTING.search(line):
            return last[at:]
    return without_noise(last)[-NEAR:]


def went_on_after(failure: RankFailure, job: JobLines) -> bool:
    """Return whether a rank printed anything more after its exception: it had survived it."""
    known = {unranked(line) for line in failure.text.split(b"\n")}
    return job.said_after(failure.error, failure.node or 0, failure.local_rank or 0, known)


def _own_logs(folder: RunFolder, since: float) -> Iterator[tuple[int, int, Path]]:
    for node_folder in sorted((folder.logs / "ranks").glob("node-*")):
        number = node_folder.name.removeprefix("node-")
        if not (number.isascii() and number.isdigit()):
            continue
        starts = sorted(node_folder.glob("*/attempt_*"), key=modified)
        files = starts[-1].glob("*/stderr.log") if starts else ()
        for file in [file for file in sorted(files)[:RANKS] if modified(file) >= since - SLACK]:
            local = file.parent.name
            if local.isascii() and local.isdigit():
                yield int(number), int(local), file


def _failure(
    lines: list[str], numbers: list[int] | None, file: Path | None, rank: int
) -> RankFailure | None:
    """Return what an output ended with, None where that is no exception."""
    end = ending(lines, ENDING)
    if end is None:
        return None
    end = _of_worker(lines, end) or _of_engine(lines, end) or end
    text = "\n".join(lines[end.begin : end.stop]).encode()
    error = tidy(end.error)
    return RankFailure(
        error=error,
        text=text,
        context="\n".join(lines[max(0, end.begin - CONTEXT) : end.begin]).encode(),
        rank=rank,
        file=file,
        line=numbers[end.at] if numbers else None,
        before=end.begin if numbers else None,
        error_at=end.at - end.begin,
        is_collateral=not end.own and (is_collateral(error, text) or others_failed(text, rank)),
        own_message=end.own,
    )


def _of_worker(lines: list[str], end: tracebacks.Traceback) -> tracebacks.Traceback | None:
    """Return the exception that ended a rank's own process, where the rank says that it is gone."""
    if not _OF_WORKER.search(end.error):
        return None
    before = lines[: end.begin]
    own = ending(before, 0)
    if own is None or own.begin < end.begin - CONTEXT:
        return None
    head = tracebacks.unranked(before[own.begin - 1]) if own.begin else ""
    just_before = not own.weak and end.begin - own.at <= NEAR
    if not just_before and not _SUBPROCESS.search(head):
        return None
    return tracebacks.Traceback(own.begin, own.at, end.stop, own.error, own=own.own)


def _of_engine(lines: list[str], end: tracebacks.Traceback) -> tracebacks.Traceback | None:
    """Return the exception of vLLM's engine, a process of its own, where the rank points to it."""
    if "See root cause above" not in end.error:
        return None
    first = max(0, end.begin - ENGINE)
    own = [(at, match[1]) for at in range(first, end.begin) if (match := _ENGINE.match(lines[at]))]
    if not own:
        return None
    at, error = next(
        ((at, text) for at, text in reversed(own) if tracebacks.exception_in(text)), own[-1]
    )
    return tracebacks.Traceback(own[0][0], at, end.stop, error)


def _tail(file: Path) -> tuple[bytes, bool]:
    """Return the end of a file, and whether that is all of it; b'' where it cannot be read."""
    try:
        return read_end(file, TAIL)
    except OSError:
        return b"", True
