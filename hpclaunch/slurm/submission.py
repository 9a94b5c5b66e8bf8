"""Submit a job and write its number down: neither a signal nor a full disk loses the number."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpclaunch.errors import JobFailed
from hpclaunch.slurm import batch

UNANSWERED = "interrupted before Slurm said whether it took the job; look with 'squeue --me'"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Hold Ctrl-C, SIGTERM and SIGHUP back; those that come are in the list.

    The second one raises KeyboardInterrupt: Slurm may keep its caller waiting. Outside the main
    thread, which alone gets signals, nothing is held.
    """
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield held
        return

    def hold(number: int, _frame: Any) -> None:
        held.append(number)
        if len(held) > 1:
            raise KeyboardInterrupt

    before = {
        number: signal.signal(number, hold)
        for number in _SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN  # as under nohup
    }
    try:
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def submit_and_record(script: Path, cwd: Path, record: Callable[[str], None]) -> str:
    """Submit a script, call `record` with the job's number, and return it.

    Raises UserError where Slurm refuses it, and JobFailed, with the number where Slurm named one,
    where it may be in the queue: `record` raised OSError, or the command was interrupted.
    """
    job_id = ""
    try:
        with held_signals() as held:
            job_id = batch.submit(script, cwd)
            record(job_id)
    except KeyboardInterrupt:
        if not job_id:
            raise JobFailed(f"{script}: {UNANSWERED}", 130) from None
        held.append(signal.SIGINT)
    except OSError as error:
        raise JobFailed(
            f"job {job_id} is in the queue, and {script.parent} cannot be written: "
            f"{error.strerror or error}; free some space, or cancel it: scancel {job_id}"
        ) from error
    if held:
        raise JobFailed(f"interrupted; job {job_id} is in the queue: scancel {job_id}", 130)
    return job_id
