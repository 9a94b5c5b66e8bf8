"""The ranks of a launcher as forks of it, made before the launcher has threads."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.forkserver.interpreter import become, run_python, set_path

DEVNULL = "/dev/null"
LARGEST = 1 << 20
"""Bytes of a rank's arguments and environment."""


class Spare:
    """A fork of this process that waits to be told which program it is."""

    def __init__(self, base: Sequence[str]) -> None:
        self._ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._ours.close()
            _wait(theirs, base)
        theirs.close()

    def start(self, order: dict[str, Any], streams: Sequence[int]) -> None:
        """Let it become a program; returns once it is in a session of its own, if it shall be."""
        data = json.dumps(order).encode() + b"\n"
        socket.send_fds(self._ours, [data], list(streams))
        self._ours.recv(1)
        self._ours.close()


def _wait(connection: socket.socket, base: Sequence[str]) -> None:
    try:
        data, streams, _, _ = socket.recv_fds(connection, LARGEST, 3)
        while data and not data.endswith(b"\n"):
            data += connection.recv(LARGEST)
    except KeyboardInterrupt:
        os._exit(0)
    if not data:  # the launcher has ended, and had no use for this one
        os._exit(0)
    order = json.loads(data)
    if order["new_session"]:
        os.setsid()
    connection.send(b"\n")
    become(
        lambda: run_python(order["arguments"], base),
        order["arguments"],
        order["environment"],
        streams,
        unbuffered="-u" in order["arguments"],
    )


def run_launcher(arguments: Sequence[str], base: Sequence[str]) -> None:
    """Run `accelerate-launch ARGUMENTS`, its ranks forks of this process."""
    from accelerate.commands.launch import main

    set_path(base)
    fork_ranks(ranks_in(arguments), base)
    sys.argv = ["accelerate-launch", *arguments]
    main()


def run_loopback(arguments: Sequence[str], base: Sequence[str]) -> None:
    """Run `python ARGUMENTS`, the launcher of one machine, its ranks forks of this process."""
    set_path(base)
    fork_ranks(ranks_in(arguments), base)
    run_python(arguments, base)


def ranks_in(launcher_arguments: Sequence[str]) -> int:
    """Return how many ranks a launcher of these arguments starts on this machine."""
    values = dict(itertools.pairwise(launcher_arguments))
    return int(values.get("--num_processes", 1)) // int(values.get("--num_machines", 1))


def fork_ranks(count: int, base: Sequence[str]) -> None:
    """Let the next `count` Python programs that this process starts be forks of it."""
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    spares = [Spare(base) for _ in range(count)]
    names = list(inspect.signature(subprocess.Popen._execute_child).parameters)[1:]  # type: ignore[attr-defined]  # private

    class Popen(subprocess.Popen):  # type: ignore[type-arg]  # generic by stub alone
        """Starts a rank by a spare fork; whatever else by a new program."""

        def _execute_child(self, *values: Any) -> None:
            how = dict(zip(names, values, strict=True))
            command = how["args"]
            python = not isinstance(command, str) and Path(command[0]).name.startswith("python")
            if not (python and spares):
                super()._execute_child(*values)  # type: ignore[misc]  # private
                return
            spare = spares.pop(0)
            with Path(DEVNULL).open() as null:
                wanted = (null.fileno(), how["c2pwrite"], how["errwrite"])
                streams = [each if each >= 0 else n for n, each in enumerate(wanted)]
                order = {
                    "arguments": list(command[1:]),
                    "environment": dict(os.environ if how["env"] is None else how["env"]),
                    "new_session": how["start_new_session"],
                }
                spare.start(order, streams)
            self.pid, self._child_created = spare.pid, True

    subprocess.Popen = Popen  # type: ignore[misc]  # replaced in this process
    subprocess_handler.Popen = Popen
    sys.stdout.flush()
