"""All that a run has left, read once; the rules look at nothing else."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpclaunch.diagnose import patterns
from hpclaunch.diagnose.activity import Activity
from hpclaunch.diagnose.cause import Clue
from hpclaunch.diagnose.job_lines import JobLines
from hpclaunch.diagnose.log import Log, read, tidy, time_in
from hpclaunch.diagnose.metrics import NodeMemory, node_memories
from hpclaunch.diagnose.other_logs import nccl_warnings, sidecar_errors
from hpclaunch.diagnose.progress import Progress
from hpclaunch.diagnose.rank_failure import RankFailure
from hpclaunch.diagnose.rank_logs import ABORTED
from hpclaunch.diagnose.ranks import failed_ranks, host_names, started
from hpclaunch.diagnose.tracebacks import without_own_message
from hpclaunch.frozen import frozen
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.run.regular_file import read_small_text

_FRAME = re.compile(rb"(?:\[rank\d+\]: ?)?\s+File \"[^\"\n]*\", line \d+")
_INDENTED = re.compile(rb"(?:\[rank\d+\]: )?\s")


@frozen
class RunEvidence:
    """What the rules see."""

    folder: RunFolder
    record: Record
    state: str
    """As `hpclaunch status` has it."""
    slurm: str = ""
    """Slurm's name of the job's state; '' where it knows nothing of it."""
    reason: str = ""
    """Why it waits, or what the state was taken from."""
    code: int | None = None
    """The script's exit code, or Slurm's of the job; 128 + N for a signal N."""
    progress: Progress = field(default_factory=Progress)
    events: tuple[Mapping[str, Any], ...] = ()
    """Of `events.jsonl`, the oldest first."""
    log: Log = field(default_factory=Log)
    ranks: tuple[RankFailure, ...] = ()
    """Those that failed, the one that began first."""
    nodes: tuple[NodeMemory, ...] = ()
    nccl: tuple[Clue, ...] = ()
    """Lines with NCCL's warnings in its own logs."""
    sidecar: tuple[Clue, ...] = ()
    """Error messages of the sidecars."""
    cancelled: str | None = None
    """Who cancelled it and where; None where nobody did by hpclaunch."""
    activity: Activity | None = None
    """What a run that runs does now, and whether it may hang."""

    @property
    def culprit(self) -> RankFailure | None:
        """The rank that failed first."""
        return self.ranks[0] if self.ranks else None

    @property
    def explained(self) -> bool:
        """The rank that failed first printed an error of its own, not of a lost peer."""
        rank = self.culprit
        return rank is not None and not rank.is_collateral and not rank.silent

    def matching_lines(self, *names: str) -> tuple[Clue, ...]:
        """Return the log's lines with phrases of these names, in the order of the names."""
        return tuple(clue for name in names for clue in self.log.matches.get(name, ()))

    def root_cause_line(self, *names: str) -> Clue | None:
        """Return the line with a phrase of these names that shows the cause; None if none does.

        Only what a rank printed as it ended counts: others may have met the same error earlier,
        and survived it. Where no rank failed, it is the script's last lines.
        """
        for rank in self.speakers:
            for name in names:
                line = _last_line_with(name, rank)
                if line:
                    return line
        if self.ranks:
            return None
        end, plain = self._log_end
        lines = filter(self.log.is_at_end, self.matching_lines(*names))
        return next((line for line in lines if line.text in plain or line.text not in end), None)

    @property
    def speakers(self) -> tuple[RankFailure, ...]:
        """The ranks whose words may tell the cause: the first to fail, or all that lost another.

        A rank that was killed printed nothing of it: its last lines are of a time when it was well.
        """
        rank = self.culprit
        if rank is None or (rank.silent and rank.code != ABORTED):
            return ()
        return (rank,) if self.explained else self.ranks

    @property
    def last_words(self) -> str:
        """The traceback, or last output, of the rank that failed first; else the log's end."""
        if self.ranks:
            texts = [rank.system_words for rank in self.speakers[:1]]
            return b"".join(texts).decode("utf-8", errors="replace")
        return self._log_end[1]

    def context_line(self, *names: str) -> Clue | None:
        """Return the last line with a phrase of these names, of what was printed just before."""
        for rank in self.speakers:
            before = None if rank.before is None else rank.before - rank.context.count(b"\n") - 1
            earlier = replace(rank, text=rank.context, before=before, error_at=None)
            for name in names:
                line = _last_line_with(name, earlier) if rank.context else None
                if line and not self._job_lines.went_on(line.text):
                    return line
        return None

    @cached_property
    def _log_end(self) -> tuple[str, str]:
        """The log's last lines, as they are and without what the program's own message quotes."""
        end = self.log.end()
        return end, without_own_message(end)

    @cached_property
    def _job_lines(self) -> JobLines:
        return JobLines(self.log)

    def last_lines(self, rank: int, most: int = 5) -> list[str]:
        """Return a rank's last lines in the job's log, the last one first."""
        place = divmod(rank, max(1, self.record.processes_per_node))
        _, lines = self._job_lines.by_rank.get(place, ([], []))
        return [tidy(line) for line in reversed(lines[-most:])]

    def nccl_line(self, *names: str) -> Clue | None:
        """Return a warning of NCCL's own logs with a phrase of these names; None without one."""
        for name in names:
            for clue in self.nccl:
                if patterns.has(name, clue.text.encode("utf-8", errors="replace")):
                    return clue
        return None

    def exit_line(self, rank: RankFailure) -> Clue:
        """Return the launcher's line on how a rank ended, as the log has it."""
        lines = (clue for clue in self.matching_lines("exited", "root") if clue.line == rank.line)
        ended = replace(rank.clue(), text=f"exit code {rank.code}, no traceback")
        return next(lines, ended) if rank.line is not None else ended

    def rank_and_host(self, clue: Clue) -> tuple[int | None, str | None]:
        """Return global rank and host that printed a line.

        Without a rank, the host of a job with one node is None: it says nothing.
        """
        names = host_names(self.folder)
        host = names[clue.node] if clue.node is not None and clue.node < len(names) else None
        if clue.node is None or clue.local_rank is None:
            return None, host if self.record.nodes > 1 else None
        return clue.node * self.record.processes_per_node + clue.local_rank, host


def _last_line_with(name: str, rank: RankFailure) -> Clue | None:
    """Return the last line of a rank's output with a phrase of a name: the reason stands last."""
    words = rank.system_words
    lines = [place for place in patterns.lines_with(name, words) if not _is_code(rank, *place)]
    if not lines:
        return None
    begin, stop = lines[-1]
    raw = rank.text[begin : min(stop, begin + 2000)]
    text = re.sub(r"^\[rank\d+\]: ?", "", tidy(raw.decode("utf-8", errors="replace")))
    line = None
    if rank.before is not None:
        line = rank.before + rank.text.count(b"\n", 0, begin) + 1
    error = rank.clue()
    return replace(error, text=text, line=line, time=time_in(text) or error.time)


def _is_code(rank: RankFailure, begin: int, stop: int) -> bool:
    """Return whether a line of a traceback is source code: it says what could be, not what was."""
    before = rank.text[rank.text.rfind(b"\n", 0, max(0, begin - 1)) + 1 : begin]
    if _FRAME.match(rank.text, begin, stop):
        return True
    # The code of a compiled module is not there: the error stands just below its last frame.
    return bool(_FRAME.match(before) and _INDENTED.match(rank.text, begin, stop))


def gather(
    folder: RunFolder,
    record: Record,
    state: str,
    slurm: str = "",
    reason: str = "",
    code: int | None = None,
    progress: Progress | None = None,
) -> RunEvidence:
    """Read what a run has left. Never raises for what stands in any of the files."""
    ended = state in {"failed", "cancelled", "timed out", "unknown", "stopped"}
    # A script that is started by hand again adds to the log of the time before.
    since = started(folder) if record.mode != "sbatch" else None
    log = read(folder.log(), since=since) if ended else Log()
    return RunEvidence(
        folder=folder,
        record=record,
        state=state,
        slurm=slurm,
        reason=tidy(reason),
        code=code,
        progress=progress or Progress(),
        events=tuple(read_events(folder.events)),
        log=log,
        ranks=failed_ranks(folder, log, record.processes_per_node) if ended else (),
        nodes=node_memories(folder.metrics) if ended else (),
        nccl=nccl_warnings(folder) if ended else (),
        sidecar=sidecar_errors(folder),
        cancelled=_small_text(folder.cancelled_file),
    )


def _small_text(file: Path) -> str | None:
    """Return the text of a small file, None where there is no such file."""
    with contextlib.suppress(OSError):
        return tidy(read_small_text(file)[:200])
    return None
