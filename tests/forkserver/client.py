"""The tests' side of the fork server: programs run by it as `subprocess.run` runs them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tests.forkserver.naming import room

ROOT = Path(__file__).parents[2]

SERVERS, MAIN = "HPCLAUNCH_TEST_SERVERS", "HPCLAUNCH_TEST_MAIN"
"""Variables that tests/conftest.py sets: where this run's servers listen, and the process that the
run was started as."""

READ_AT_IMPORT = re.compile(
    r"(HF|HUGGINGFACE|TRANSFORMERS|DATASETS|TOKENIZERS|TORCH|PYTORCH|OMP|MKL|CUDA|NCCL|GLOO|LD|TRL"
    r"|XDG(?!_STATE_HOME$)|PEFT|BNB|BITSANDBYTES|ACCELERATE|KMP|NUMEXPR|OPENBLAS)_.*"
    r"|HOME|TMPDIR|TZ|LANG|LC_.*|PATH|PYTHON(?!PATH$|UNBUFFERED$).*"
)
"""Variables that Python or a library reads when it starts or is imported. A program whose own
differ from the server's is not forked."""


READ_AT_START = re.compile(r"(LD|LC|OMP|OPENBLAS|MKL)_.*|LANG|TZ|PYTHON(?!UNBUFFERED$).*")
"""Those that Python itself, its loader or numpy read. No module of the command line reads one when
it is imported."""


class ForkServer:
    """One server process, for programs that share the variables it was started with.

    `preload`: what it imports, see `tests.forkserver.server`. Of several workers of one run the
    first to ask starts it, and all use it; it ends with the process that the run was started as.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        preload: Literal["training", "commands"] = "training",
    ) -> None:
        same = json.dumps([preload, sorted(at_import(environment).items())])
        place = Path(os.environ[SERVERS]) / hashlib.sha256(same.encode()).hexdigest()[:16]
        self.socket = f"{place}.socket"
        """Where it listens."""
        with Path(f"{place}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not Path(self.socket).exists():
                self._start(environment, preload)

    def _start(self, environment: Mapping[str, str], preload: str) -> None:
        argument, variable = room()
        main = os.pidfd_open(int(os.environ[MAIN]))  # can be read from when that process is gone
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forkserver.server", self.socket, preload, argument],
            env=dict(environment) | variable,
            cwd=ROOT,
            stdin=main,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(main)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", "the fork server did not start"

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        timeout: float,
        given: str = "",
        folder: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with `given` as its stdin, in `folder` or this process's own.

        Raises TimeoutExpired, having killed it.
        """
        with tempfile.TemporaryFile() as stdin:
            stdin.write(given.encode())
            stdin.seek(0)
            (out, out_end), (err, err_end) = os.pipe(), os.pipe()
            request = {
                "arguments": list(arguments),
                "environment": dict(environment),
                "folder": str(folder or Path.cwd()),
            }
            connection = self._ask(request, [stdin.fileno(), out_end, err_end])
        for end in (out_end, err_end):
            os.close(end)
        streams = [_Reader(out), _Reader(err)]
        with connection, connection.makefile("r") as answers:
            connection.settimeout(timeout)
            program = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(program, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(arguments), timeout) from None
        texts = [stream.text() for stream in streams]
        return subprocess.CompletedProcess(list(arguments), code, *texts)

    def _ask(self, request: Mapping[str, object], streams: list[int]) -> socket.socket:
        data = json.dumps(request).encode() + b"\n"
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.socket)
        sent = socket.send_fds(connection, [data], streams)
        connection.sendall(data[sent:])
        return connection


def at_import(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those variables that are read at import, with their values."""
    return {name: value for name, value in environment.items() if READ_AT_IMPORT.fullmatch(name)}


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those variables that an interpreter reads when it starts, with their values."""
    return {name: value for name, value in environment.items() if READ_AT_START.fullmatch(name)}


class _Reader(threading.Thread):
    """Reads a pipe to its end, as `subprocess.run` does."""

    def __init__(self, end: int) -> None:
        super().__init__(daemon=True)
        self._end, self._data = end, b""
        self.start()

    def run(self) -> None:
        with open(self._end, "rb") as stream:  # noqa: PTH123 - it is a descriptor
            self._data = stream.read()

    def text(self) -> str:
        self.join()
        return self._data.decode(errors="replace").replace("\r\n", "\n")
