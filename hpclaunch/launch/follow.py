"""Follow a job in the queue: its log as it grows, until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lines import Line, parse_line
from hpclaunch.run.regular_file import open_regular
from hpclaunch.slurm.jobs import JobState, job_states

POLL_S = 0.5
"""Seconds between reads of the log: a file costs the file system little."""

SLURM_INTERVAL_S = 30.0
"""Seconds between calls of Slurm's commands: sites dislike programs that call more often."""

NEW_JOB_INTERVAL_S = 5.0
"""Seconds between those calls while Slurm has not said yet what a job waits for."""

PIECE = 1 << 20
"""Bytes of a log that are read at once."""
MAX_LINE = 1 << 20
"""Bytes of a line that are kept until its end comes."""
LOG_DELAY_S = 3.0
"""Seconds that the last lines may take to cross a network file system."""


class LogReader:
    """Return the new whole lines of the newest log at each call."""

    def __init__(self, folder: RunFolder, from_end: bool = False) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._offset = 0
        self._rest = b""
        if from_end:
            for _ in self.read():
                pass

    def read(self) -> Iterator[Line]:
        """Yield the lines written since the last call; a log that is not there yet has none.

        A line that goes on without end is given in pieces. Raises OSError.
        """
        path = self._folder.log()
        if path is None:
            return
        if path != self._path:
            self._path, self._offset, self._rest = path, 0, b""
        with open_regular(path) as stream:
            stream.seek(self._offset)
            while new := stream.read(PIECE):
                self._offset += len(new)
                *lines, self._rest = (self._rest + new).split(b"\n")
                if len(self._rest) > MAX_LINE:
                    lines, self._rest = [*lines, self._rest], b""
                for line in lines:
                    yield parse_line(line.decode("utf-8", errors="replace"))

    def rest(self) -> list[Line]:
        """Return what stands after the last line's end."""
        rest, self._rest = self._rest, b""
        return [parse_line(rest.decode("utf-8", errors="replace"))] if rest else []


def follow(
    folder: RunFolder,
    job_id: str | None,
    show: Callable[[Line], None],
    waiting: Callable[[JobState], None] = lambda _: None,
    reader: LogReader | None = None,
    alive: Callable[[], bool] = lambda: True,
) -> JobState | None:
    """Show the log until the job has ended; return Slurm's last state of it.

    `waiting` is called with each state that Slurm reports. The exit code that the script writes
    ends it too, as does the end of the process that `alive` checks, so that a run without Slurm can
    be followed. While Slurm does not answer, it goes on.
    """
    reader = reader or LogReader(folder)
    began, checked, pause = time.monotonic(), 0.0, 0.0
    stale = _stale_exit_code(folder, job_id)
    while True:
        ended = _exit_code_time(folder) not in {None, stale}
        if job_id and not ended and time.monotonic() - checked >= pause:
            checked = time.monotonic()
            state = job_states([job_id]).get(job_id)
            if state is not None:
                waiting(state)
            # Slurm looks at a new job within seconds; before that it has no reason to tell.
            silent = state is not None and state.state == "PENDING" and not state.reason
            new = silent and time.monotonic() - began < SLURM_INTERVAL_S
            pause = NEW_JOB_INTERVAL_S if new else SLURM_INTERVAL_S
            ended = state is None or state.ended
        elif job_id is None and not ended:
            ended = not alive()
        for line in reader.read():
            show(line)
        if ended:
            break
        time.sleep(POLL_S)
    return _last_lines(folder, job_id, show, reader)


def _exit_code_time(folder: RunFolder) -> float | None:
    """Return when the script left its exit code, None where it has not."""
    try:
        return folder.exit_code_file.stat().st_mtime
    except OSError:
        return None


def _stale_exit_code(folder: RunFolder, job_id: str | None) -> float | None:
    """Return the time of an exit code that is an earlier job's: this one waits, or runs."""
    written = _exit_code_time(folder)
    if written is None or job_id is None:
        return None
    state = job_states([job_id]).get(job_id)
    return written if state is not None and not state.ended and not state.silent else None


def _last_lines(
    folder: RunFolder, job_id: str | None, show: Callable[[Line], None], reader: LogReader
) -> JobState | None:
    """Read the rest of the log while Slurm finishes the job."""
    deadline = time.monotonic() + LOG_DELAY_S
    state = None
    while time.monotonic() < deadline:
        for line in reader.read():
            show(line)
        state = job_states([job_id]).get(job_id) if job_id else None
        if state is None or state.ended:
            break
        time.sleep(POLL_S)
    for line in reader.read():
        show(line)
    for line in reader.rest():
        show(line)
    return state
