"""Print a job's lines as they come, and how it ended."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from shlex import quote

from hpclaunch.cli.progress_line import ProgressLine
from hpclaunch.cli.terminal import paint
from hpclaunch.cli.text import say
from hpclaunch.diagnose.reasons import explain
from hpclaunch.diagnose.state import Status
from hpclaunch.diagnose.status import status
from hpclaunch.launch.follow import LogReader, follow
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.launcher import LauncherFilter
from hpclaunch.run.lines import Line, show
from hpclaunch.run.record import Record
from hpclaunch.slurm.jobs import JobState

WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "EXPEDITING"}
"""Slurm's states in which its reason says what a job waits for."""


def printer(folder: RunFolder, record: Record, whole: bool = False) -> Callable[[Line], None]:
    """Return a function that prints a line after the node and process that it is from.

    `whole`: with the launchers' own reports of failed ranks, which the log has in any case.
    """
    gc.enable()  # off for a fast start; from here on this process may live for days
    names: list[tuple[str, ...]] = []

    launchers = LauncherFilter()

    def print_line(line: Line) -> None:
        if not whole and not launchers.wanted(line):
            return
        # The script writes the hosts before its first labelled line.
        if not names and line.node is not None:
            names.append(folder.node_names())
        print(
            show(line, record.nodes, names[0] if names else (), record.processes_per_node),
            flush=True,
        )

    return print_line


def state_printer(record: Record) -> Callable[[JobState], None]:
    """Return a function that prints a job's state whenever it has changed."""
    printed: list[str] = []

    def print_state(job: JobState) -> None:
        state = "Slurm does not answer" if job.silent else job.state.lower()
        text = f"job {record.job_id}: {state}"
        if job.reason:
            text += f" ({job.reason})"
            meaning, step = explain(job.reason, record.name, record.job_id or "")
            if not job.ended and job.state in WAITING:
                text += f": {meaning}" + (f"; {step}" if step else "")
        if text not in printed[-1:]:
            printed.append(text)
            say(text)

    return print_state


def wait_for(folder: RunFolder, record: Record, reader: LogReader | None = None) -> int:
    """Follow a run to its end and print how it ended; returns its exit code."""
    try:
        with ProgressLine() as line:
            show = line.above(folder, printer(folder, record), starts=True)
            follow(folder, record.job_id, show, state_printer(record), reader)
    except KeyboardInterrupt:
        say(f"no longer following; the job goes on: hpclaunch logs -f {record.name}")
        return 130
    return print_end(status(folder, record))


def print_end(run: Status) -> int:
    """Print how a run ended and what to do next; returns its exit code."""
    if run.state in {"done", "stopped"}:
        state = paint(run.state, "good", sys.stderr) if run.state == "done" else run.state
        weights = f"; weights in {run.final}" if run.final else ""
        on = f"; go on: hpclaunch resume {quote(run.name)}" if run.state == "stopped" else ""
        say(f"{state}{weights}{on}; report: hpclaunch report {quote(run.name)}")
        return 0
    code = run.exit_code if run.exit_code else 1
    detail = f" ({run.reason})" if run.reason else ""
    state = paint(run.state, "bad", sys.stderr)
    on = f"; go on: hpclaunch resume {quote(run.name)}" if run.state == "cancelled" else ""
    say(f"{state}{detail}, exit code {code}{on}; see: hpclaunch status {quote(run.name)}")
    if run.failure:
        rank = f"rank {run.failure.rank}" if run.failure.rank is not None else "job"
        host = f" on {run.failure.host}" if run.failure.host else ""
        say(f"first failure: {rank}{host}: {run.failure.error}")
    return code
