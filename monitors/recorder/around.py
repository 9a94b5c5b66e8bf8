"""Run any program and record the node it runs on for as long as it lives.

The program is a child that knows nothing of it: it has the terminal, gets every signal that comes
here, and its exit code is given back. The sidecar watches the program and not this process: where
this one is killed, the program goes on and is recorded to its end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitors.recorder.processes import default_node

FORWARDED = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
)
_LOCAL = ("SLURM_LOCALID", "LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")
"""Variables with the number of a process among those that were started together on a node."""
_BY_THE_TERMINAL = 128
"""`si_code` of a signal that the kernel sent by itself: Ctrl-C reached the program as well."""
_SIGNALLED = 128
_CLOSING_S = 10.0


@dataclass(frozen=True)
class Ended:
    """How it went."""

    code: int
    """The program's exit code; 128 and the signal's number where one ended it."""
    recorded: bool
    """Whether the record was kept to the end."""


def records_here(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the one to record: of several on a node the first alone."""
    local_rank = next((environment[name] for name in _LOCAL if environment.get(name)), "0")
    return not local_rank.isdigit() or int(local_rank) == 0


def around(program: Sequence[str], out: Path, node: str | None, interval_s: float) -> Ended:
    """Run `program` and record into `out` until it has ended.

    Raises OSError where nothing can be written into `out` (its `filename` is below `out` or `out`
    itself), or where the program cannot be started (its `filename` is `program[0]`).
    """
    recording = records_here()
    if recording:
        _try_to_write(out)
    # Under Slurm its variables mark the job's ranks: one task records for all of a node.
    mark = {} if "SLURM_JOB_ID" in os.environ else {"MONITORED_BY": str(os.getpid())}
    environment = {**os.environ, **mark}
    # Blocked from here on: a signal waits until there is somebody to pass it on to.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    try:
        child = os.posix_spawnp(program[0], list(program), environment, setsigmask=before)
        sidecar = _sidecar(out, node, interval_s, child, environment) if recording else None
        code = _forward_signals(child)
        return Ended(code, sidecar is None or _close(sidecar))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _try_to_write(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=out, prefix=".trial-") as trial:
        trial.write(b"x")


def _sidecar(
    out: Path, node: str | None, interval_s: float, child: int, environment: Mapping[str, str]
) -> subprocess.Popen[bytes] | None:
    """Start it, in a session of its own: a Ctrl-C is meant for the program."""
    flags = ["--out", str(out), "--node", node or default_node(), "--interval", str(interval_s)]
    try:
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "monitors.recorder",
                *flags,
                "--parent",
                str(child),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        print(f"monitor: nothing is recorded: {error.strerror}", file=sys.stderr)
        return None


def _forward_signals(child: int) -> int:
    """Pass signals on until the program has ended; gives its exit code."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else _SIGNALLED - code
        # Not `sigtimedwait`: stopped and continued, it may answer with a signal that nobody sent.
        came = signal.sigwaitinfo({*FORWARDED, signal.SIGCHLD})
        if came.si_signo != signal.SIGCHLD and came.si_code != _BY_THE_TERMINAL:
            os.kill(child, came.si_signo)  # it is there, if as a zombie: nobody else waits for it


def _close(sidecar: subprocess.Popen[bytes]) -> bool:
    """Let the record end in order; whether it did."""
    try:
        # By itself it sees the program's end within a second: it may have a last sample to take.
        return sidecar.wait(_CLOSING_S) == 0
    except subprocess.TimeoutExpired:
        sidecar.kill()
        sidecar.wait()
        return False
