"""The host's memory, or the job's share of it, was used up."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.rules.gpu_memory import PINNING
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.diagnose.tracebacks import HEADER
from hpclaunch.plan.slurm_options import mib_of
from hpclaunch.site.sbatch_options import MEMORY

_TASK = re.compile(r"srun: error: (\S+?): tasks? (\d+)\S*: Out Of Memory")
_ON_NODE = re.compile(r"slurmstepd-?(\S*): error")

_LOST = re.compile(
    r"EOFError|BrokenPipe|ConnectionReset|ConnectionRefused|[Ww]orker|subprocess|MemoryError|memory"
    r"|died|killed|SIGKILL"
)
"""An exception that a process of the rank's own leaves behind where it is killed."""
_OF_LIBRARY = re.compile(r"MemoryError: (?!.*(?:[Aa]llocat|alloc\b|CPU|[Hh]ost|RAM|array))\S+ \S")
"""A library's own sentence: it may speak of the GPU's memory, or of a budget of its own."""
_EXITED = re.compile(r"exited unexpectedly|abruptly")
_WORKER_ABORTED = re.compile(r"worker \(pid \d+\) is killed by signal: Aborted")
_NOTED = re.compile(r"^the kernel killed .* of the job for memory$")

FULL = 0.9
"""Share of the host's memory from which a kill without a message is put down to it."""
KILLED = {-9, 137}


def host(evidence: RunEvidence) -> Cause | None:
    """The host's memory, or the job's share of it, was used up."""
    lines = evidence.matching_lines("host_oom") if _may_be_killed(evidence) else ()
    silent = next((r for r in evidence.ranks if r.silent and r.code in KILLED), None)
    full = max((n for n in evidence.nodes if n.share), key=lambda n: n.share or 0, default=None)
    near = full is not None and (full.share or 0) >= FULL
    refused = None
    if evidence.root_cause_line("locked_memory") is None:
        refused = _refused(evidence)
    worker = evidence.root_cause_line("worker_killed") or _gone(evidence)
    kills = _kills(evidence) if silent or not evidence.explained else ()
    if kills and silent is None and not lines:
        full = next(n for n in evidence.nodes if kills[0].file == n.file)
    if kills:
        lines = (*lines, *kills)
    if (
        evidence.slurm != "OUT_OF_MEMORY"
        and not lines
        and not (silent and near)
        and refused is None
        and worker is None
    ):
        return None
    rank, node = (silent.rank, silent.host) if silent else (None, None)
    own = refused or worker
    if node is None:
        rank, node = _named(evidence, lines or ((own,) if own else ()))
    if node is None and kills:
        node = kills[0].text.partition(":")[0]
    headline = "the host's memory was used up"
    shown_lines = list(lines[:3])
    if refused:
        headline = f"{_without(evidence)}: {refused.text}"
        shown_lines.append(refused)
    elif worker:
        headline = _of_worker(worker)
        shown_lines.append(worker)
    elif lines or evidence.slurm == "OUT_OF_MEMORY":
        headline += ", and the system killed a process of the job"
    elif silent:
        headline += ", and a rank was killed without a message"
        shown_lines.append(evidence.exit_line(silent))
    sampled = next((n for n in evidence.nodes if n.node == node), full)
    limit_mib = _limit_mib(evidence, sampled.limit_mib if sampled else None)
    if sampled is not None and sampled.used_mib is not None and limit_mib:
        used, limit = sampled.used_mib / 1024, limit_mib / 1024
        text = f"{sampled.node} used up to {used:.1f} of {limit:.1f} GiB in its last minutes"
        shown_lines.append(Clue(text, sampled.file))
    steps = (*_pinned(evidence), *_fewer(worker), *_host_advice(evidence, limit_mib))
    return Cause(headline, steps, tuple(shown_lines), rank, node)


def _without(evidence: RunEvidence) -> str:
    """Return what a refused allocation was for."""
    if PINNING in evidence.last_words:
        return "no memory could be pinned for the GPU: the host's, or the GPU's own, is used up"
    return "the host has no memory left"


def _pinned(evidence: RunEvidence) -> tuple[str, ...]:
    """Return what to do about memory that is pinned for the GPU."""
    if PINNING not in evidence.last_words:
        return ()
    return ("dataloader_pin_memory=False pins none; or the GPU itself is full: see nvidia-smi",)


def _refused(evidence: RunEvidence) -> Clue | None:
    """Return the line of an allocation that the host refused."""
    if _WORKER_ABORTED.search(evidence.last_words):
        return evidence.root_cause_line("host_alloc") or evidence.context_line("host_alloc")
    if PINNING in evidence.last_words:
        return evidence.root_cause_line("gpu_oom")
    line = evidence.root_cause_line("host_alloc")
    return None if line is None or _OF_LIBRARY.search(line.text) else line


def _fewer(worker: Clue | None) -> tuple[str, ...]:
    """Return how fewer processes work at once, where they are those of datasets.map."""
    if worker is None or "map operation" not in worker.text:
        return ()
    return ("fewer processes at once: num_proc of datasets.map, or 1 to see its error",)


def _limit_mib(evidence: RunEvidence, sampled: float | None) -> float | None:
    """Return what a node's processes may hold: the least of what was sampled and asked for.

    Where Slurm has no cgroup to hold the job in, it still ends what is over its --mem.
    """
    requested = evidence.record.resources.get("mem")
    if not isinstance(requested, str) or not re.fullmatch(MEMORY, requested):
        return sampled
    asked_mib = mib_of(requested)
    return min((each for each in (sampled, asked_mib) if each), default=None)


def _may_be_killed(evidence: RunEvidence) -> bool:
    """Return whether what Slurm killed for memory can be what the job failed of.

    A rank that says why it failed was not killed: a process of another step, or of another job
    on the node, was. What a rank lost with a process of its own, its exception says.
    """
    return not evidence.explained or _LOST.search(evidence.last_words) is not None


def _gone(evidence: RunEvidence) -> Clue | None:
    """Return the line of a worker that is gone, if nothing says what else became of it."""
    context = b"".join(rank.context for rank in evidence.speakers[:1])
    if "killed by signal" in evidence.last_words or HEADER.encode() in context:
        return None
    line, rank = evidence.root_cause_line("worker_gone"), evidence.culprit
    chained = "direct cause" in evidence.last_words
    if rank and rank.error and not _EXITED.search(rank.error) and not chained:
        return None  # the worker itself said why it ended
    return line


def _of_worker(line: Clue) -> str:
    """Return what became of a process that a rank had started; the signal is not always known."""
    if "SIGKILL" in line.text or "Killed" in line.text or "status" in line.text:
        what = "a loader worker" if "DataLoader" in line.text else "a process of the program"
        return f"{what} was killed: the host's memory was used up ({line.text.strip()})"
    what = "a loader worker" if "DataLoader" in line.text else "a worker process"
    return f"{what} is gone without a word, as when the host's memory is used up: {line.text}"


def _kills(evidence: RunEvidence) -> tuple[Clue, ...]:
    """Return what the sidecars noted of processes that the kernel killed for memory."""
    return tuple(
        Clue(f"{node.node}: {text}", node.file)
        for node in evidence.nodes
        for text in node.notes
        if _NOTED.search(text)
    )


def _named(evidence: RunEvidence, lines: tuple[Clue, ...]) -> tuple[int | None, str | None]:
    """Return rank and host that the lines name: the rank where a node has only one."""
    for line in lines:
        match = _TASK.search(line.text)
        if match:
            alone = evidence.record.processes_per_node == 1
            return int(match.group(2)) if alone else None, match.group(1)
    for line in lines:
        rank, host = evidence.rank_and_host(line)
        match = _ON_NODE.search(line.text)
        if host or (match and match.group(1)):
            return rank, host or (match.group(1) if match else None)
    return None, None


def _host_advice(evidence: RunEvidence, limit_mib: float | None) -> tuple[str, ...]:
    steps = []
    if evidence.record.mode != "local":
        more = f" (the limit was {limit_mib / 1024:.3g} GiB a node)" if limit_mib else ""
        steps.append(f"start it again with more host memory: --mem 0 is all of a node{more}")
    if not evidence.record.program:
        steps.append("fewer workers that each hold the data: training.dataloader_num_workers=0")
        steps.append("without --offload the shards stay on the GPUs")
    steps.append(advice.resume(evidence))
    return tuple(steps)
