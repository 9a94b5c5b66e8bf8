"""Run a job's script attached to this terminal: here, in an allocation, or in a fresh one."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from hpclaunch.frozen import frozen
from hpclaunch.run.events import is_full
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lines import Line, parse_line
from hpclaunch.run.regular_file import create_regular
from hpclaunch.run.stop_timing import INTERRUPTED_SAVE_SECONDS

STOP_TIMEOUT = 60.0
"""Seconds that a stopped job gets to end by itself before it is killed."""

STOPPED = 130
"""Exit code of a run that Ctrl-C or SIGTERM stopped."""

_GRANTED = re.compile(r"salloc: (?:Granted job allocation|Pending job allocation) (\d+)")
_STEP = re.compile(r"^(SLURM_STEP|SLURM_STEPID|SLURM_NODEID|SLURM_PROCID|SLURM_LOCALID|SLURM_GTIDS"
                   r"|SLURM_TASK_PID|SLURM_LAUNCH|SLURM_SRUN|SLURM_PTY|SLURM_NTASKS|SLURM_NPROCS"
                   r"|SLURM_CPU_BIND|SLURM_MPI|SLURM_DISTRIBUTION|SLURM_OVERLAP|SLURM_EXACT"
                   r"|SLURM_UMASK|SLURM_CPUS_PER_TASK|SLURM_TRES_PER_TASK|SLURM_TRES_BIND|SLURM_LABELIO"
                   r"|SLURM_CPUS_PER_GPU"
                   r"|SLURM_GPUS|SLURM_GPU_BIND|SLURM_NTASKS_PER|SLURM_MEM_PER"
                   r"|PMI|PMIX)")  # fmt: skip


@frozen
class Attached:
    """A command to run in the foreground, and how it is stopped."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    label: str = ""
    """Put in front of every line of the log, where no srun labels them."""
    later: str = ""
    """How to go on with it once it was stopped, for the message: `; later: hpclaunch resume x`."""


def inside_allocation(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for steps started from within a job, without the enclosing step's own.

    A shell under `srun --pty` carries that step's variables; a nested srun would take them for
    its options and land on one node.
    """
    return {name: value for name, value in environment.items() if not _STEP.match(name)}


def run_attached(
    job: Attached,
    show: Callable[[Line], None],
    on_job: Callable[[str], None] = lambda _: None,
    on_start: Callable[[int], None] = lambda _: None,
    save: Callable[[], bool] = lambda: False,
) -> int:
    """Run to the end, with every line to the log and to `show`; returns the exit code.

    Ctrl-C has the job save and end: `save` asks for it, and returns whether it will. A second one
    stops it, as the first does where there is nothing to save: its first process gets SIGTERM (the
    script ends its steps, salloc its allocation), then the rest of the output is read until it has
    ended; the launchers' messages about being stopped go to the log alone. One more Ctrl-C, or
    STOP_TIMEOUT seconds, kills it. SIGTERM is the same, with INTERRUPTED_SAVE_SECONDS to save. A
    reader that has gone (`| head`, a closed terminal) is as good as Ctrl-C, for the job belongs to
    this terminal; under nohup it goes on.
    `on_job` is called with the job id of a fresh allocation, `on_start` with the process id.
    """
    # A session of its own: the terminal's Ctrl-C must reach this program alone, which then ends
    # the job in order, instead of every process in the pipeline at once.
    process = subprocess.Popen(
        job.argv,
        env=dict(job.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        bufsize=1,
        start_new_session=True,
    )
    saving, stopping = threading.Event(), threading.Event()
    reader_gone: list[bool] = []

    def interrupt(number: int, _frame: object) -> None:
        if stopping.is_set():
            _kill(process)
        elif saving.is_set():
            stop("stopping the job without waiting for its checkpoint (again: kill it)")
        else:
            end("", INTERRUPTED_SAVE_SECONDS if number == signal.SIGTERM else None)

    def end(why: str, seconds: float | None) -> None:
        if save():
            saving.set()
            _say(f"{why}saving a checkpoint, then stopping{job.later} (again: stop at once)")
            if seconds is not None:
                _after(seconds, stop_unless_stopped)
        else:
            stop(f"{why}stopping the job{job.later} (again: kill it)")

    def stop_unless_stopped() -> None:
        if not stopping.is_set():
            stop("no time left to save: stopping the job")

    def stop(why: str) -> None:
        stopping.set()
        _say(why)
        process.send_signal(signal.SIGTERM)
        _after(STOP_TIMEOUT, lambda: _kill(process))

    def show_unless_stopped(line: Line) -> None:
        from_launcher = line.node is not None and line.local_rank is None
        if reader_gone or (stopping.is_set() and from_launcher):
            return
        try:
            show(line)
        except OSError:
            reader_gone.append(True)
            if not stopping.is_set() and not saving.is_set():
                end("nobody reads the output any more, its log is kept: ", None)

    before = {number: signal.signal(number, interrupt) for number in _watched_signals()}
    try:
        on_start(process.pid)
        stream = process.stdout
        if stream is not None:
            _copy(stream, job, show_unless_stopped, on_job)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopping.is_set():
        return STOPPED
    return 128 - code if code < 0 else code


def _copy(
    stream: IO[str], job: Attached, show: Callable[[Line], None], on_job: Callable[[str], None]
) -> None:
    """Copy output to the log and to the terminal until it ends.

    Where the disk is full the log loses lines: that is no reason for the job to end.
    """
    with os.fdopen(create_regular(job.log, os.O_WRONLY | os.O_APPEND), "ab", buffering=0) as log:
        for raw in stream:
            granted = _GRANTED.match(raw)
            if granted:
                on_job(granted.group(1))
            labelled = job.label + raw
            try:
                log.write(labelled.encode(errors="replace"))
            except OSError as error:
                if not is_full(error):
                    raise
            show(parse_line(labelled))


def _watched_signals() -> list[signal.Signals]:
    """Return the signals that end an attached run; Python hands them to its first thread alone."""
    if threading.current_thread() is not threading.main_thread():
        return []
    hang_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
    return [signal.SIGINT, signal.SIGTERM, *hang_up]  # SIGHUP is ignored under nohup


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"hpclaunch: {text}", file=sys.stderr, flush=True)


def _after(seconds: float, action: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def _kill(process: subprocess.Popen[str]) -> None:
    """End the script's whole session at once."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def local_job(folder: RunFolder, environment: Mapping[str, str]) -> Attached:
    """Return the command that runs a script on this machine."""
    return Attached(
        ["bash", str(folder.script)],
        environment,
        folder.logs / "job-local.out",
        label="0: ",
        later=later(folder),
    )


def later(folder: RunFolder) -> str:
    """Return the words of a message that say how to go on with a run that was stopped."""
    return f"; later: hpclaunch resume {shlex.quote(folder.root.name)}"
