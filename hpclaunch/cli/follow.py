"""Show a job's lines as they come, and its end."""

from __future__ import annotations

import gc
from collections.abc import Callable

from hpclaunch.cli.text import say
from hpclaunch.diagnose.state import Status
from hpclaunch.diagnose.status import status
from hpclaunch.launch.follow import LogReader, follow
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.launcher import LauncherFilter
from hpclaunch.run.lines import Line, show
from hpclaunch.run.record import Record
from hpclaunch.slurm.commands import JobState


def printer(folder: RunFolder, record: Record, whole: bool = False) -> Callable[[Line], None]:
    """Return a function that prints a line with who said it.

    `whole`: with the launchers' own accounts of ranks that failed, which the log has in any case.
    """
    gc.enable()  # off for the sake of the start; from here on this process may live for days
    names: list[tuple[str, ...]] = []

    launchers = LauncherFilter()

    def print_line(line: Line) -> None:
        if not whole and not launchers.wanted(line):
            return
        # The hosts are known once the script runs, so before its first labelled line.
        if not names and line.node is not None:
            names.append(folder.node_names())
        print(show(line, record.nodes, names[0] if names else ()), flush=True)

    return print_line


def waiting_teller(record: Record) -> Callable[[JobState], None]:
    """Return a function that says a job's state whenever it has changed."""
    said: list[str] = []

    def waiting(state: JobState) -> None:
        told = "Slurm does not answer" if state.silent else state.state.lower()
        text = f"job {record.job_id}: {told}"
        text += f" ({state.reason})" if state.reason else ""
        if text not in said[-1:]:
            said.append(text)
            say(text)

    return waiting


def wait_for(folder: RunFolder, record: Record, reader: LogReader | None = None) -> int:
    """Follow a run to its end, say how it ended, and give its exit code."""
    waiting = waiting_teller(record)
    try:
        follow(folder, record.job_id, printer(folder, record), waiting, reader)
    except KeyboardInterrupt:
        say(f"no longer following; the job goes on: hpclaunch logs -f {record.name}")
        return 130
    return say_end(status(folder, record))


def say_end(found: Status) -> int:
    """Say how a run ended and what to do next; gives its exit code."""
    if found.state in {"done", "stopped"}:
        what = f"; weights in {found.final}" if found.final else ""
        say(f"{found.state}{what}; report: hpclaunch report {found.name}")
        return 0
    code = found.exit_code if found.exit_code else 1
    detail = f" ({found.reason})" if found.reason else ""
    say(f"{found.state}{detail}, exit code {code}; see: hpclaunch status {found.name}")
    if found.failure:
        who = f"rank {found.failure.rank}" if found.failure.rank is not None else "job"
        where = f" on {found.failure.host}" if found.failure.host else ""
        say(f"first failure: {who}{where}: {found.failure.error}")
    return code
