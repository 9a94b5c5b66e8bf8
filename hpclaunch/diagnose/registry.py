"""Every cause that `why` knows: one entry each, with its rule, the phrases it is known by, flags.

A new cause is an entry here and its rule in `diagnose/rules/`, which returns the headline, the fix
and the lines that show it. The order decides: the first rule that fits is the cause, and the rules
after it are shown as seen beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Phrases:
    """Plain text to search the job's log for (NCCL's own logs: `evidence.nccl`); a pattern over all
    lines would take seconds per GB."""

    texts: tuple[str, ...]
    """The line has one of these."""
    confirmed: str = ""
    """Regular expression that the line must match, too."""
    latest: bool = False
    """The last lines count, not the first."""


@dataclass(frozen=True)
class KnownCause:
    """One cause: its rule, what its lines look like, and how it relates to others."""

    kind: str
    """What a script goes by: `gpu-memory`, `time-limit`, `peer-lost`, ..."""
    rule: str
    """Module and function within `diagnose/rules`: takes RunEvidence, returns Cause or None."""
    phrases: Mapping[str, Phrases] = field(default_factory=dict)
    """Phrases by the name that rules ask for them."""
    decided: bool = False
    """It came from outside: what the ranks said before it is shown beside it."""
    general: bool = False
    """It is seen whenever a rank fails: beside a more precise one it adds nothing."""
    node_fault: bool = False
    """It may lie with the node; an exception, memory, a disk or the hub fail anywhere."""
    collateral: bool = False
    """A rank prints its phrases when a peer is dead or slow: it did not begin there."""


def _phrases(*texts: str, confirmed: str = "", latest: bool = False) -> Phrases:
    return Phrases(texts, confirmed, latest)


NO_FAILURE = (
    KnownCause("written", "no_failure.written"),
    KnownCause("queued", "no_failure.queued"),
    KnownCause("hang", "at_work.hang"),
    KnownCause("suspended", "at_work.suspended"),
    KnownCause("running", "at_work.running"),
    KnownCause("done", "no_failure.done"),
    KnownCause("stopped", "no_failure.stopped"),
)
"""States that are no failure: nothing more is looked for."""

CAUSES: tuple[KnownCause, ...] = (
    # Somebody's decision, and nodes: of these the ranks show only the consequences.
    KnownCause("cancelled", "slurm.cancelled", {
        "cancelled": _phrases(
            "CANCELLED AT ", confirmed=r"\*\*\* JOB \d+ ON \S+ CANCELLED AT [-\d:T]+ \*\*\*")},
        decided=True),
    KnownCause("node-failure", "slurm.node_failure", {
        "node_failure": _phrases(
            "DUE TO NODE FAILURE", "Node failure on ", "Communication connection failure")},
        decided=True, node_fault=True),
    KnownCause("preempted", "slurm.preempted", {
        "preempted": _phrases("DUE TO PREEMPTION")}, decided=True),
    KnownCause("time-limit", "slurm.time_limit", {
        "time_limit": _phrases("DUE TO TIME LIMIT")}, decided=True),
    KnownCause("not-shared", "slurm.no_log"),
    # A device or the memory gave out: everything else that is seen may follow from it.
    KnownCause("gpu-error", "devices.hardware", {
        "xid": _phrases("NVRM: Xid", "Xid (PCI"),
        "gpu_lost": _phrases(
            "has fallen off the bus", "GPU is lost", "ncorrectable ECC error",
            "ncorrectable NVLink error")},
        node_fault=True),
    KnownCause("gpu-memory", "memory.gpu", {
        "gpu_oom": _phrases(
            "CUDA out of memory", "CUDA error: out of memory", "OutOfMemoryError",
            "CUBLAS_STATUS_ALLOC_FAILED", "Cuda failure 2 'out of memory'")}),
    KnownCause("host-memory", "memory.host", {
        "host_oom": _phrases(
            "oom_kill event", "oom-kill event", "Out Of Memory", "OOM Killed",
            "ut of memory: Kill", "exceeded memory limit"),
        "host_alloc": _phrases(
            "DefaultCPUAllocator: can't allocate memory", "Cannot allocate memory",
            "MemoryError", "std::bad_alloc",
            confirmed=r"allocate memory|\bMemoryError\b|std::bad_alloc")}),
    # What was not there, or was refused.
    KnownCause("not-shared", "storage.not_shared", {
        "not_shared": _phrases("must be on shared storage")}),
    KnownCause("no-module", "inputs.no_module", {
        "no_module": _phrases(
            "Unable to locate a modulefile", "module(s) are unknown", "Lmod has detected")}),
    KnownCause("no-environment", "inputs.no_environment", {
        "no_command": _phrases(
            ": command not found", ": not found", "activate: No such file or directory",
            "no Python environment in")}),
    KnownCause("bad-data", "inputs.bad_row", {
        "bad_row": _phrases(
            "repair the row or take it out", "JSON parse error", "DatasetGenerationError",
            "pyarrow.lib.ArrowInvalid", "JSONDecodeError")}),
    KnownCause("offline", "inputs.offline", {
        "offline": _phrases(
            "couldn't connect to 'http", "OfflineModeIsEnabled", "LocalEntryNotFoundError",
            "outgoing traffic has been disabled", "which works offline",
            "fetch it where there is internet", "Name or service not known",
            "Temporary failure in name resolution", "Max retries exceeded with url")}),
    KnownCause("rate-limit", "inputs.rate_limit", {
        "rate_limit": _phrases("429 Too Many Requests", "429 Client Error")}),
    # The hub answers 401 for what does not exist, too: its own words come before the number.
    KnownCause("not-found", "inputs.not_found", {
        "not_found": _phrases(
            "RepositoryNotFoundError", "Repository Not Found", "DatasetNotFoundError",
            "RevisionNotFoundError", "has no such revision", "not a valid model identifier",
            "is not on the hub", "no model called", "no dataset called")}),
    KnownCause("no-access", "inputs.gated", {
        "gated": _phrases(
            "GatedRepoError", "gated repo", " is gated", "gated dataset", "401 Client Error",
            "403 Client Error", "403 Forbidden", "Invalid user token",
            "Invalid credentials in Authorization")}),
    KnownCause("quota", "storage.quota", {
        "quota": _phrases("Disk quota exceeded", "[Errno 122]", "os error 122")}),
    KnownCause("disk-full", "storage.full", {
        "disk_full": _phrases("No space left on device", "[Errno 28]", "os error 28)"),
        "torn_write": _phrases("basic_ios::clear: iostream error", " unexpected pos ")}),
    KnownCause("file-system", "storage.broken", {
        "stale": _phrases("Stale file handle", "Transport endpoint is not connected"),
        "read_only": _phrases("Read-only file system")}),
    KnownCause("no-gpu", "devices.missing", {
        "no_gpu": _phrases(
            "No CUDA GPUs are available", "this rank sees no GPU",
            "not compiled with CUDA enabled", "Found no NVIDIA driver",
            "no CUDA-capable device", " were asked for", "has fewer GPUs than",
            confirmed=r"GPU|CUDA|NVIDIA")},
        node_fault=True),
    KnownCause("cuda-mismatch", "devices.driver", {
        "driver": _phrases(
            "driver on your system is too old", "CUDA driver version is insufficient",
            "no kernel image is available", "forward compatibility was attempted",
            "Driver/library version mismatch",
            "not compatible with the current PyTorch installation")},
        node_fault=True),
    KnownCause("port-taken", "network.port", {
        "port_taken": _phrases("ddress already in use", "EADDRINUSE", "no free port on")}),
    KnownCause("no-package", "inputs.package", {
        "no_package": _phrases("ModuleNotFoundError: No module named", "ImportError: ")}),
    KnownCause("cuda-error", "devices.fault", {
        "gpu_fault": _phrases(
            "CUDA error: ", "CUBLAS_STATUS_EXECUTION", "CUBLAS_STATUS_INTERNAL")},
        node_fault=True),
    # The first rank's own words, or its end without any.
    KnownCause("exception", "program.exception", general=True),
    KnownCause("killed", "program.killed", general=True, node_fault=True),
    # What the other ranks saw of it, where nothing tells what it was.
    KnownCause("collective-timeout", "network.timeout", {
        "watchdog": _phrases("Watchdog caught collective operation timeout"),
        "gloo_timeout": _phrases("Timed out waiting ", confirmed=r"Timed out waiting \d+ms for"),
        "barrier": _phrases("failed to pass monitoredBarrier")},
        general=True, node_fault=True, collateral=True),
    KnownCause("not-met", "network.not_met", {
        "store_timeout": _phrases(
            "wait timeout after ", "client socket has timed out", "seconds waiting for clients"),
        "network": _phrases(
            "Connection refused", "No route to host", "Network is unreachable", "ncclSystemError",
            "connectFullMesh failed")},
        general=True, node_fault=True, collateral=True),
    KnownCause("peer-lost", "network.peer", {
        "peer_lost": _phrases(
            "onnection closed by", "onnection reset by", "onnection was closed",
            "onnection was reset", "Remote peer closed", "remote process exited",
            "ncclRemoteError", "Broken pipe", "Socket closed", "failed to recv, got 0 bytes")},
        general=True, collateral=True),
    KnownCause("exception", "program.exception_in_log", general=True),
    KnownCause("script", "program.script", {
        "script": _phrases(
            "hpclaunch: ", "sbatch: ", "bash: ", "srun: ", latest=True,
            confirmed=r"(?m)^(?: *\d+: )?(?:hpclaunch|sbatch|bash|srun): ")},
        general=True),
    KnownCause("killed", "no_failure.local_killed", general=True, node_fault=True),
    KnownCause("unknown", "no_failure.unknown_state"),
)  # fmt: skip
"""Causes of a failure, in this order: the root before what follows from it."""

UNKNOWN = KnownCause("unknown", "program.unknown")
"""Where no rule fits."""

CONTEXT = {
    "root": _phrases("Root Cause (first observed"),
    "exited": _phrases("failed (exitcode: "),
    "enqueued": _phrases("last enqueued ", confirmed=r"last enqueued (?:NCCL )?work"),
}
"""Lines that are no cause, but show which rank it began with."""

PHRASES: Mapping[str, Phrases] = CONTEXT | {
    name: phrases for cause in CAUSES for name, phrases in cause.phrases.items()
}
"""All that a log is searched for, by name."""

COLLATERAL = tuple(name for cause in CAUSES if cause.collateral for name in cause.phrases)
"""Names of the phrases that a rank prints whose peer is dead or slow."""

NODE_FAULTS = frozenset(cause.kind for cause in CAUSES if cause.node_fault)
"""Kinds of causes that may lie with a node."""
