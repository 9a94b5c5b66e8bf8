"""Limits of the node that are no memory or disk of the job: locked and shared memory, counts."""

from __future__ import annotations

from hpclaunch.diagnose import patterns
from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence


def locked_memory(evidence: RunEvidence) -> Cause | None:
    """InfiniBand could not register memory: the limit of locked memory is too low."""
    refused = evidence.root_cause_line("locked_memory") or evidence.nccl_line("locked_memory")
    if refused is None:
        refused = evidence.context_line("locked_memory") if _of_nccl(evidence) else None
    if refused is None:
        return None
    limit = evidence.context_line("locked_limit")
    steps = (
        "in the job: ulimit -l must say unlimited; Slurm hands on the limit of the shell that "
        "submits where PropagateResourceLimits is set",
        "tell your site's support: slurmd needs LimitMEMLOCK=infinity on the node",
        advice.resume(evidence),
    )
    lines = (refused, limit) if limit and limit.text != refused.text else (refused,)
    headline = f"the limit of locked memory (ulimit -l) is too low for InfiniBand: {refused.text}"
    return Cause(headline, steps, lines, *advice.who(evidence, refused))


SEMAPHORE = "_multiprocessing.SemLock("
"""How Python makes a semaphore: a file in /dev/shm."""


def shared_memory(evidence: RunEvidence) -> Cause | None:
    """The node's shared memory is full: loader workers and NCCL pass their data through it."""
    line = evidence.root_cause_line("shared_memory")
    if line is None and SEMAPHORE in evidence.last_words:
        line = evidence.root_cause_line("disk_full")
    if line is None and _of_nccl(evidence):
        line = evidence.context_line("shared_memory") or evidence.nccl_line("shared_memory")
    if line is None or patterns.has("open_files", line.text.encode()):
        return None
    workers = ("training.dataloader_num_workers=0 uses none of it",)
    steps = (
        "how full it is, and of what: df -h /dev/shm; ls -l /dev/shm on the node",
        *(() if evidence.record.program else workers),
        "in a container it is small unless it is asked for: --ipc=host, or --shm-size=16g",
    )
    headline = f"shared memory (/dev/shm) is full: {line.text}"
    return advice.cause(evidence, line, headline, *steps)


def processes(evidence: RunEvidence) -> Cause | None:
    """No further process or thread may be started."""
    line = evidence.root_cause_line("process_limit")
    if line is None and "KeyboardInterrupt" in evidence.last_words:
        # OpenBLAS interrupts its own process where it cannot start its threads.
        line = evidence.context_line("process_limit")
    if line is None:
        return None
    steps = (
        "how many the limit allows: ulimit -u in the job; how many there are: ps -u $USER -L | wc "
        "-l on the node",
        "OMP_NUM_THREADS=1, and fewer workers of loaders and of datasets' map",
    )
    headline = f"no further process or thread may be started: {line.text}"
    return advice.cause(evidence, line, headline, *steps)


def _of_nccl(evidence: RunEvidence) -> bool:
    """Return whether the ranks failed in NCCL: what it warned of before counts, too."""
    return any("nccl" in rank.error.lower() for rank in evidence.speakers[:1])
