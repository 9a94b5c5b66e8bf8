"""Too little memory: the GPU's or the host's."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.evidence import Evidence
from hpclaunch.diagnose.rules import advice

_ASKED = re.compile(r"Tried to allocate ([\d.]+ \w+)")
_GPU = re.compile(r"GPU (\d+)[ ;]")
_CAPACITY = re.compile(r"total capac\w+ of ([\d.]+ \w+)|([\d.]+ \w+) total capacity")
_FREE = re.compile(r"of which ([\d.]+ \w+) is free|; ([\d.]+ \w+) free")
_OTHERS = re.compile(r"\. Process \d+ has ([\d.]+ \w+) memory in use")
_TASK = re.compile(r"srun: error: (\S+?): tasks? (\d+)\S*: Out Of Memory")
_ON_NODE = re.compile(r"slurmstepd-?(\S*): error")

_NOTED = re.compile(r"^the kernel killed .* of the job for memory$")

FULL = 0.9
"""Share of the host's memory from which a kill without a word is put down to it."""
KILLED = {-9, 137}


def gpu(e: Evidence) -> Cause | None:
    """A GPU had no memory left: who asked for how much."""
    line = e.said("gpu_oom")
    if line is None:
        return None
    rank, host = e.where(line)
    culprit = e.culprit
    if rank is None and culprit is not None and not culprit.follows:
        rank, host = culprit.rank, culprit.host
    asked, free = _ASKED.search(line.text), _either(_FREE, line.text)
    device, capacity = _GPU.search(line.text), _either(_CAPACITY, line.text)
    headline = f"GPU {device.group(1)} is out of memory" if device else "a GPU is out of memory"
    headline += f": it asked for {asked.group(1)} more" if asked else ""
    if capacity:
        headline += f", of {capacity}" + (f" {free} was free" if free else "")
    return Cause("gpu-memory", headline, _gpu_advice(e, line.text), (line,), rank, host)


def _either(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return next((group for group in match.groups() if group), "") if match else ""


def _gpu_advice(e: Evidence, text: str) -> tuple[str, ...]:
    """Return what makes room, the cheapest first."""
    steps = []
    others = _OTHERS.search(text)
    if others:
        steps.append(f"another process held {others.group(1)} of this GPU: see nvidia-smi on it")
    if e.record.program:
        return (*steps, "make the batch or the sequences of your program smaller", *_more(e))
    section = advice.training(e)
    batch, length = section["per_device_train_batch_size"], section["max_length"]
    parts = section["gradient_accumulation_steps"]
    if isinstance(batch, int) and batch > 1 and isinstance(parts, int):
        half = max(1, batch // 2)
        steps.append(
            advice.resume(
                e,
                f"training.per_device_train_batch_size={half}",
                f"training.gradient_accumulation_steps={parts * batch // half}",
            )
        )
    elif isinstance(length, int) and length > 512:
        steps.append(advice.resume(e, f"training.max_length={length // 2}"))
    if section["gradient_checkpointing"] is False:
        steps.append(advice.resume(e, "training.gradient_checkpointing=true"))
    steps += [
        *_more(e),
        "a new run with less on each GPU: --method qlora, --sharding full, --offload",
    ]
    return tuple(steps)


def _more(e: Evidence) -> tuple[str, ...]:
    if e.record.mode == "local":
        return ()
    return (advice.resume(e, "--nodes", str(e.record.nodes * 2)),)


def host(e: Evidence) -> Cause | None:
    """The host's memory, or the job's share of it, was used up."""
    lines = e.hits("host_oom")
    silent = next((r for r in e.ranks if r.silent and r.code in KILLED), None)
    full = max((n for n in e.nodes if n.share), key=lambda n: n.share or 0, default=None)
    near = full is not None and (full.share or 0) >= FULL
    asked = e.said("host_alloc")
    kills = _kills(e) if silent or not e.explained else ()
    if kills and silent is None and not lines:
        full = next(n for n in e.nodes if kills[0].file == n.file)
    if kills:
        lines = (*lines, *kills)
    if e.slurm != "OUT_OF_MEMORY" and not lines and not (silent and near) and asked is None:
        return None
    rank, node = (silent.rank, silent.host) if silent else (None, None)
    if node is None:
        rank, node = _named(e, lines or ((asked,) if asked else ()))
    if node is None and kills:
        node = kills[0].text.partition(":")[0]
    headline = "the host's memory was used up"
    evidence = list(lines[:3])
    if asked:
        headline = f"the host has no memory left: {asked.text}"
        evidence.append(asked)
    elif lines or e.slurm == "OUT_OF_MEMORY":
        headline += ", and the system killed a process of the job"
    elif silent:
        headline += ", and a rank was killed without a word"
        evidence.append(e.shown(silent))
    seen = next((n for n in e.nodes if n.node == node), full)
    if seen is not None and seen.used_mib is not None and seen.limit_mib:
        used, limit = seen.used_mib / 1024, seen.limit_mib / 1024
        text = f"{seen.node} used up to {used:.1f} of {limit:.1f} GiB in its last minutes"
        evidence.append(Clue(text, seen.file))
    return Cause("host-memory", headline, _host_advice(e, seen.limit_mib if seen else None),
                 tuple(evidence), rank, node)  # fmt: skip


def _kills(e: Evidence) -> tuple[Clue, ...]:
    """Return what the samplers noted of processes that the kernel killed for memory."""
    return tuple(
        Clue(f"{node.node}: {text}", node.file)
        for node in e.nodes
        for text in node.notes
        if _NOTED.search(text)
    )


def _killed(file: object, code: int | None) -> Clue:
    from pathlib import Path

    return Clue(
        f"exit code {code} (SIGKILL), no traceback", file if isinstance(file, Path) else None
    )


def _named(e: Evidence, lines: tuple[Clue, ...]) -> tuple[int | None, str | None]:
    """Return rank and host that the lines speak of: the rank where a node has one alone."""
    for line in lines:
        match = _TASK.search(line.text)
        if match:
            alone = e.record.processes_per_node == 1
            return int(match.group(2)) if alone else None, match.group(1)
    for line in lines:
        rank, host = e.where(line)
        match = _ON_NODE.search(line.text)
        if host or (match and match.group(1)):
            return rank, host or (match.group(1) if match else None)
    return None, None


def _host_advice(e: Evidence, limit_mib: float | None) -> tuple[str, ...]:
    steps = []
    if e.record.mode != "local":
        more = f" (the limit was {limit_mib / 1024:.0f} GiB a node)" if limit_mib else ""
        steps.append(f"start it again with more host memory: --mem 0 is all of a node{more}")
    if not e.record.program:
        steps.append("fewer workers that each hold the data: training.dataloader_num_workers=0")
        steps.append("without --offload the shards stay on the GPUs")
    steps.append(advice.resume(e))
    return tuple(steps)
