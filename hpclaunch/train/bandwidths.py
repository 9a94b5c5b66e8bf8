"""Measure how fast the ranks exchange tensors: what `hpclaunch preflight` starts on every rank.

An all-gather is what FSDP does with weights, an all-reduce what copies of a model do with their
gradients. Each is timed among the ranks of a node and among all, with tensors that grow until one
collective takes long enough to be told from its latency.
"""

from __future__ import annotations

import datetime
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.train.distributed import DistContext, context_from_env, destroy_process_group
from hpclaunch.train.process import run_program

FIRST_BYTES, GROWTH = 1 << 20, 4
"""Bytes that all ranks of the first round have together, and how much more the next has."""
MAX_BYTES = {"cuda": 1 << 31, "cpu": 1 << 26}
"""Bytes at which it ends: about a layer of a 70B model on GPUs."""
LONG_SECONDS = {"cuda": 0.5, "cpu": 2.0}
"""Seconds of a collective after which none larger is tried."""
REPEATS = 5
HOST_BYTES = 1 << 29
"""Bytes that are copied between pinned memory and a GPU at once."""
COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=3)
"""For one collective, the first of which waits for NCCL to connect all ranks."""


def main() -> int:
    """Measure, and have rank 0 write `rates.json` into the run folder; returns the exit code."""
    import torch
    from torch import distributed

    try:
        context = context_from_env()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if context.world_size < 2:
        print("error: one rank alone has nobody to exchange with", file=sys.stderr)
        return 2
    if context.device == "cuda":
        torch.cuda.set_device(context.local_rank)
    # torch has begun to rename the gather; both names work, and this one on older versions too.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    distributed.init_process_group(
        "nccl" if context.device == "cuda" else "gloo", timeout=COLLECTIVE_TIMEOUT
    )
    try:
        measured = _measure(context)
    finally:
        destroy_process_group()
    if context.is_main_process:
        folder = RunFolder(Path(os.environ["HPCLAUNCH_RUN"]))
        write_atomic(folder.rates, json.dumps(measured, indent=2) + "\n")
    return 0


def _measure(context: DistContext) -> dict[str, Any]:
    from torch import distributed

    per_node = context.world_size // context.nodes
    measured: dict[str, Any] = {"when": time.time(), "nodes": context.nodes, "per_node": per_node}
    measured["inside"] = measured["across"] = None
    if per_node > 1:
        groups = [list(range(n * per_node, (n + 1) * per_node)) for n in range(context.nodes)]
        node_group, _ = distributed.new_subgroups_by_enumeration(groups, timeout=COLLECTIVE_TIMEOUT)
        measured["inside"] = _rates(context, node_group, per_node, "inside a node")
    measured["host"] = _host_rates(context, per_node) if context.device == "cuda" else None
    if context.nodes > 1:
        measured["across"] = _rates(
            context, distributed.group.WORLD, context.world_size, "across nodes"
        )
    return measured


def _host_rates(context: DistContext, per_node: int) -> dict[str, float]:
    """Return GB/s of copies between pinned memory and each GPU, as offloaded shards are fetched.

    All GPUs of a node at once, each way, and one GPU a node while the others rest. The slowest
    rank counts.
    """
    import torch
    from torch import distributed

    there = torch.empty(HOST_BYTES, dtype=torch.uint8, device="cuda")
    here = torch.zeros(HOST_BYTES, dtype=torch.uint8, pin_memory=True)

    def seconds(copy: Callable[[], None], *, takes_part: bool = True) -> float:
        times = []
        for _ in range(1 + REPEATS):
            distributed.barrier()
            torch.cuda.synchronize()
            begin = time.perf_counter()
            if takes_part:
                copy()
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begin)
        return _slowest(context, statistics.median(times[1:]))  # the first sets it up

    def to_gpu() -> None:
        there.copy_(here, non_blocking=True)

    def from_gpu() -> None:
        here.copy_(there, non_blocking=True)

    alone = seconds(to_gpu, takes_part=context.local_rank == 0)
    rates = {
        "to_gpu_gb_s": HOST_BYTES / seconds(to_gpu) / 1e9,
        "from_gpu_gb_s": HOST_BYTES / seconds(from_gpu) / 1e9,
        "alone_gb_s": HOST_BYTES / alone / 1e9,
        "gpus": per_node,
    }
    if context.is_main_process:
        print(
            f"host memory: {rates['to_gpu_gb_s']:.3g} GB/s to each of {per_node} GPUs at once, "
            f"{rates['from_gpu_gb_s']:.3g} GB/s back, {rates['alone_gb_s']:.3g} GB/s to one alone",
            flush=True,
        )
    return rates


def _rates(context: DistContext, group: Any, ranks: int, where: str) -> list[dict[str, float]]:
    """Return a row for each size: bytes in all, and GB/s of both collectives."""
    import torch
    from torch import distributed

    rows: list[dict[str, float]] = []
    size = FIRST_BYTES
    while True:
        share = max(1, size // (2 * ranks))
        full = torch.zeros(share * ranks, dtype=torch.bfloat16, device=context.device)
        shard = torch.ones(share, dtype=torch.bfloat16, device=context.device)

        def gather(full: Any = full, shard: Any = shard) -> None:
            distributed.all_gather_into_tensor(full, shard, group=group)

        def reduce(full: Any = full) -> None:
            distributed.all_reduce(full, group=group)

        moved = 2 * share * (ranks - 1)  # into each rank
        gather_seconds, reduce_seconds = _seconds(context, gather), _seconds(context, reduce)
        row = {
            "bytes": float(2 * share * ranks),
            "gather_gb_s": moved / gather_seconds / 1e9,
            "reduce_gb_s": 2 * moved / reduce_seconds / 1e9,
        }
        rows.append(row)
        if context.is_main_process:
            print(
                f"{where}: {row['bytes'] / 1e6:,.0f} MB, all-gather {row['gather_gb_s']:.3g} GB/s, "
                f"all-reduce {row['reduce_gb_s']:.3g} GB/s",
                flush=True,
            )
        size *= GROWTH
        if (
            size > MAX_BYTES[context.device]
            or max(gather_seconds, reduce_seconds) > LONG_SECONDS[context.device]
        ):
            return rows


def _seconds(context: DistContext, collective: Callable[[], None]) -> float:
    """Return the median time of a collective, that of the slowest rank."""
    import torch

    def once() -> float:
        if context.device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        collective()
        if context.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    # The first connects the ranks, and says how many more there is time for.
    again = REPEATS if _slowest(context, once()) < LONG_SECONDS[context.device] else 1
    return _slowest(context, statistics.median(once() for _ in range(again)))


def _slowest(context: DistContext, seconds: float) -> float:
    """Return the largest of all ranks' values: they must agree on what comes next."""
    import torch
    from torch import distributed

    held = torch.tensor(seconds, device=context.device)
    distributed.all_reduce(held, op=distributed.ReduceOp.MAX)
    return float(held)


if __name__ == "__main__":
    run_program(main)
