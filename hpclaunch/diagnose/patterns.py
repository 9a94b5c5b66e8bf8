"""The words by which a trouble is known: PyTorch's, NCCL's, Slurm's, the hub's, the system's.

Plain words, for they are searched for in megabytes: a pattern of all of them takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

SIGNS: dict[str, tuple[str, ...]] = {
    # Slurm
    "time_limit": ("DUE TO TIME LIMIT",),
    "preempted": ("DUE TO PREEMPTION",),
    "node_failure": (
        "DUE TO NODE FAILURE",
        "Node failure on ",
        "Communication connection failure",
    ),
    "cancelled": ("CANCELLED AT ",),
    "host_oom": (
        "oom_kill event",
        "oom-kill event",
        "Out Of Memory",
        "OOM Killed",
        "ut of memory: Kill",
        "exceeded memory limit",
    ),
    # the GPUs
    "xid": ("NVRM: Xid", "Xid (PCI"),
    "gpu_lost": (
        "has fallen off the bus",
        "GPU is lost",
        "ncorrectable ECC error",
        "ncorrectable NVLink error",
    ),
    "gpu_fault": ("CUDA error: ", "CUBLAS_STATUS_EXECUTION", "CUBLAS_STATUS_INTERNAL"),
    "gpu_oom": (
        "CUDA out of memory",
        "CUDA error: out of memory",
        "OutOfMemoryError",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "Cuda failure 2 'out of memory'",
    ),
    "no_gpu": (
        "No CUDA GPUs are available",
        "this rank sees no GPU",
        "not compiled with CUDA enabled",
        "Found no NVIDIA driver",
        "no CUDA-capable device",
        " were asked for",
        "has fewer GPUs than",
    ),
    "driver": (
        "driver on your system is too old",
        "CUDA driver version is insufficient",
        "no kernel image is available",
        "forward compatibility was attempted",
        "Driver/library version mismatch",
        "not compatible with the current PyTorch installation",
    ),
    # memory of the host
    "host_alloc": (
        "DefaultCPUAllocator: can't allocate memory",
        "Cannot allocate memory",
        "MemoryError",
        "std::bad_alloc",
    ),
    # the ranks among themselves
    "watchdog": ("Watchdog caught collective operation timeout",),
    "enqueued": ("last enqueued ",),
    "gloo_timeout": ("Timed out waiting ",),
    "barrier": ("failed to pass monitoredBarrier",),
    "store_timeout": (
        "wait timeout after ",
        "client socket has timed out",
        "seconds waiting for clients",
    ),
    "peer_lost": (
        "onnection closed by",
        "onnection reset by",
        "onnection was closed",
        "onnection was reset",
        "Remote peer closed",
        "remote process exited",
        "ncclRemoteError",
        "Broken pipe",
        "Socket closed",
        "failed to recv, got 0 bytes",
    ),
    "network": (
        "Connection refused",
        "No route to host",
        "Network is unreachable",
        "ncclSystemError",
        "connectFullMesh failed",
    ),
    "port_taken": ("ddress already in use", "EADDRINUSE", "no free port on"),
    # disks
    "quota": ("Disk quota exceeded", "[Errno 122]", "os error 122"),
    "disk_full": ("No space left on device", "[Errno 28]", "os error 28)"),
    "torn_write": ("basic_ios::clear: iostream error", " unexpected pos "),
    "read_only": ("Read-only file system",),
    "stale": ("Stale file handle", "Transport endpoint is not connected"),
    "not_shared": ("must be on shared storage",),
    # models and data
    "gated": (
        "GatedRepoError",
        "gated repo",
        " is gated",
        "gated dataset",
        "401 Client Error",
        "403 Client Error",
        "403 Forbidden",
        "Invalid user token",
        "Invalid credentials in Authorization",
    ),
    "not_found": (
        "RepositoryNotFoundError",
        "Repository Not Found",
        "DatasetNotFoundError",
        "RevisionNotFoundError",
        "has no such revision",
        "not a valid model identifier",
        "is not on the hub",
        "no model called",
        "no dataset called",
    ),
    "offline": (
        "couldn't connect to 'http",
        "OfflineModeIsEnabled",
        "LocalEntryNotFoundError",
        "outgoing traffic has been disabled",
        "which works offline",
        "fetch it where there is internet",
        "Name or service not known",
        "Temporary failure in name resolution",
        "Max retries exceeded with url",
    ),
    "rate_limit": ("429 Too Many Requests", "429 Client Error"),
    "bad_row": (
        "repair the row or take it out",
        "JSON parse error",
        "DatasetGenerationError",
        "pyarrow.lib.ArrowInvalid",
        "JSONDecodeError",
    ),
    # the script and its environment
    "no_command": (": command not found", ": not found", "activate: No such file or directory"),
    "no_module": ("Unable to locate a modulefile", "module(s) are unknown", "Lmod has detected"),
    "no_package": ("ModuleNotFoundError: No module named", "ImportError: "),
    # who failed
    "root": ("Root Cause (first observed",),
    "exited": ("failed (exitcode: ",),
    "script": ("hpclaunch: ", "sbatch: ", "bash: ", "srun: "),
}
"""Name of a sign and the words of it."""

CONFIRMED = {
    "cancelled": r"\*\*\* JOB \d+ ON \S+ CANCELLED AT [-\d:T]+ \*\*\*",
    "host_alloc": r"allocate memory|\bMemoryError\b|std::bad_alloc",
    "no_gpu": r"GPU|CUDA|NVIDIA",
    "gloo_timeout": r"Timed out waiting \d+ms for",
    "enqueued": r"last enqueued (?:NCCL )?work",
    "script": r"(?m)^(?: *\d+: )?(?:hpclaunch|sbatch|bash|srun): ",
}
"""Signs whose words are not enough: what the line must have too."""

LATEST = {"script"}
"""Signs of which the last lines count; of the others the first."""

ROOTS = (
    "CUDA out of memory",
    "oom_kill event",
    "DUE TO ",
    "No space left on device",
    "Watchdog caught",
    "Traceback (most",
)
"""Searched for in the whole of a long log where its end tells nothing."""

COLLATERAL = ("watchdog", "gloo_timeout", "barrier", "store_timeout", "peer_lost", "network")
"""Signs that a rank gives whose peer is dead or slow: it is not where it began."""


@cache
def _words(name: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in SIGNS[name])


@cache
def _confirmed(name: str) -> re.Pattern[bytes] | None:
    return re.compile(CONFIRMED[name].encode()) if name in CONFIRMED else None


def places(name: str, text: bytes, most: int = 64) -> list[tuple[int, int]]:
    """Return begin and end of the lines that give a sign, at most so many of each of its words."""
    found: dict[int, tuple[int, int]] = {}
    confirmed = _confirmed(name)
    for word in _words(name):
        kept = 0
        for begin, stop in _lines_with(word, text, name in LATEST):
            if confirmed is None or confirmed.search(text, begin, stop):
                found[begin] = (begin, stop)
                kept += 1
                if kept == most:
                    break
    return sorted(found.values())


def _lines_with(word: bytes, text: bytes, backwards: bool) -> Iterator[tuple[int, int]]:
    """Return begin and end of the lines that have a word, from the first or from the last on."""
    at = text.rfind(word) if backwards else text.find(word)
    while at >= 0:
        begin = text.rfind(b"\n", 0, at) + 1
        stop = text.find(b"\n", at)
        stop = len(text) if stop < 0 else stop
        yield begin, stop
        at = text.rfind(word, 0, begin) if backwards else text.find(word, stop)


def has(name: str, text: bytes) -> bool:
    """Return whether a text gives this sign."""
    return bool(places(name, text, 1))


def first(name: str, text: bytes, begin: int, stop: int) -> int:
    """Return where the first of a sign's words stands in a line that gives it."""
    found = [at for word in _words(name) if (at := text.find(word, begin, stop)) >= 0]
    return min(found, default=begin)
