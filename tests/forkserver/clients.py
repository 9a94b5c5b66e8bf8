"""A fork that stands for another process, its client, such as a task of a Slurm step."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
from pathlib import Path

import psutil

NAMESPACES = {"uts": 0x04000000, "net": 0x40000000}
"""Those that a node of a throwaway cluster has of its own, with setns(2)'s number for each."""


def stand_for(client: int, umask: int) -> None:
    """Take over what a child of the client would have: host, network, cores, cgroups, umask."""
    for name, number in NAMESPACES.items():
        theirs = f"/proc/{client}/ns/{name}"
        if Path(theirs).readlink() == Path(f"/proc/self/ns/{name}").readlink():
            continue
        namespace = os.open(theirs, os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace, number) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(namespace)
    os.sched_setaffinity(0, os.sched_getaffinity(client))
    _join_groups(client)
    os.umask(umask)
    os.setsid()


def _join_groups(client: int) -> None:
    """Join the cgroups (version 1) that the client is in and this process is not."""
    ours = Path("/proc/self/cgroup").read_text().splitlines()
    for line in Path(f"/proc/{client}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        group = Path(f"/sys/fs/cgroup/{controllers}{path}/cgroup.procs")
        if line not in ours and group.exists():
            group.write_text(f"{os.getpid()}")


def end_with(connection: socket.socket, program: int) -> None:
    """Wait for the end of the program; kill it and all that it started if the client goes first."""
    ended = os.pidfd_open(program)
    ready, _, _ = select.select([ended, connection.fileno()], [], [])
    os.close(ended)
    if connection.fileno() in ready and not connection.recv(1, socket.MSG_PEEK):
        for process in _tree(program):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _tree(program: int) -> list[int]:
    """Return the program and its descendants, ranks in sessions of their own among them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [program, *(each.pid for each in psutil.Process(program).children(recursive=True))]
    return []


def children_of(process: int) -> list[int]:
    """Return the processes that a process has started, empty where it is gone."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in children.split()]
