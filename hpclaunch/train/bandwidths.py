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
from hpclaunch.train.distributed import DistContext, context_from_env, leave
from hpclaunch.train.process import run_program

FIRST, GROWTH = 1 << 20, 4
"""Bytes that all ranks of the first round have together, and how much more the next has."""
LARGEST = {"cuda": 1 << 31, "cpu": 1 << 26}
"""Bytes at which it ends: about a layer of a 70B model on GPUs."""
LONG = {"cuda": 0.5, "cpu": 2.0}
"""Seconds of a collective after which none larger is tried."""
TIMES = 5
PATIENCE = datetime.timedelta(minutes=3)
"""For one collective, the first of which waits for NCCL to connect all ranks."""


def main() -> int:
    """Measure, and have rank 0 write `rates.json` into the run folder; returns the exit code."""
    import torch
    from torch import distributed

    try:
        here = context_from_env()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if here.size < 2:
        print("error: one rank alone has nobody to exchange with", file=sys.stderr)
        return 2
    if here.device == "cuda":
        torch.cuda.set_device(here.local_rank)
    # torch has begun to rename the gather; both names work, and this one on older versions too.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    distributed.init_process_group("nccl" if here.device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        found = _measure(here)
    finally:
        leave()
    if here.first:
        folder = RunFolder(Path(os.environ["HPCLAUNCH_RUN"]))
        write_atomic(folder.rates, json.dumps(found, indent=2) + "\n")
    return 0


def _measure(here: DistContext) -> dict[str, Any]:
    from torch import distributed

    per_node = here.size // here.nodes
    found: dict[str, Any] = {"when": time.time(), "nodes": here.nodes, "per_node": per_node}
    found["inside"] = found["across"] = None
    if per_node > 1:
        groups = [list(range(n * per_node, (n + 1) * per_node)) for n in range(here.nodes)]
        own, _ = distributed.new_subgroups_by_enumeration(groups, timeout=PATIENCE)
        found["inside"] = _rates(here, own, per_node, "inside a node")
    if here.nodes > 1:
        found["across"] = _rates(here, distributed.group.WORLD, here.size, "across nodes")
    return found


def _rates(here: DistContext, group: Any, ranks: int, where: str) -> list[dict[str, float]]:
    """Return a row for each size: bytes in all, and GB/s of both collectives."""
    import torch
    from torch import distributed

    rows: list[dict[str, float]] = []
    size = FIRST
    while True:
        share = max(1, size // (2 * ranks))
        whole = torch.zeros(share * ranks, dtype=torch.bfloat16, device=here.device)
        own = torch.ones(share, dtype=torch.bfloat16, device=here.device)

        def gather(whole: Any = whole, own: Any = own) -> None:
            distributed.all_gather_into_tensor(whole, own, group=group)

        def reduce(whole: Any = whole) -> None:
            distributed.all_reduce(whole, group=group)

        moved = 2 * share * (ranks - 1)  # into each rank
        gathering, reducing = _seconds(here, gather), _seconds(here, reduce)
        row = {
            "bytes": float(2 * share * ranks),
            "gather_gb_s": moved / gathering / 1e9,
            "reduce_gb_s": 2 * moved / reducing / 1e9,
        }
        rows.append(row)
        if here.first:
            print(
                f"{where}: {row['bytes'] / 1e6:,.0f} MB, all-gather {row['gather_gb_s']:.3g} GB/s, "
                f"all-reduce {row['reduce_gb_s']:.3g} GB/s",
                flush=True,
            )
        size *= GROWTH
        if size > LARGEST[here.device] or max(gathering, reducing) > LONG[here.device]:
            return rows


def _seconds(here: DistContext, collective: Callable[[], None]) -> float:
    """Return the median time of a collective, that of the slowest rank."""
    import torch

    def once() -> float:
        if here.device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        collective()
        if here.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    # The first connects the ranks, and says how many more there is time for.
    again = TIMES if _slowest(here, once()) < LONG[here.device] else 1
    return _slowest(here, statistics.median(once() for _ in range(again)))


def _slowest(here: DistContext, seconds: float) -> float:
    """Return the largest of all ranks' values: they must agree on what comes next."""
    import torch
    from torch import distributed

    held = torch.tensor(seconds, device=here.device)
    distributed.all_reduce(held, op=distributed.ReduceOp.MAX)
    return float(held)


if __name__ == "__main__":
    run_program(main)
