"""A training small enough for four ranks on two cores: FSDP over gloo, until a file says stop.

Run as `small.py FOLDER` under `accelerate launch`. FOLDER/late-data holds the seconds that a batch
takes to be made, FOLDER/saving those that a checkpoint takes, FOLDER/stop ends it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from hpclaunch.run.events import log_event
from hpclaunch.train.distributed import destroy_process_group

WIDTH, LAYERS, ROWS = 192, 4, 2048
SAVE_EVERY = 2


def number(path: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        return float(path.read_text())
    return 0.0


def batches(folder: Path) -> Iterator[torch.Tensor]:
    while True:
        time.sleep(number(folder / "late-data"))
        yield torch.randn(ROWS, WIDTH)


def main() -> None:
    folder = Path(sys.argv[1])
    dist.init_process_group("gloo")
    first = dist.get_rank() == 0
    torch.set_num_threads(1)
    model = nn.Sequential(
        *(
            nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
            for _ in range(LAYERS)
        )
    )
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = batches(folder)
    step, stop = 0, torch.zeros(1)
    if first:
        log_event(folder / "events.jsonl", "start", world=dist.get_world_size(), device="cpu")
    began = time.monotonic()
    while not stop.item():
        asked = time.monotonic()
        batch = next(data)
        waited = time.monotonic() - asked
        loss = (model(batch) - batch.roll(1, 1)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        stop.fill_((folder / "stop").exists() if first else 0)
        dist.broadcast(stop, 0)
        if first:
            seconds = time.monotonic() - began
            fields = {"seconds": seconds, "waited": waited, "loss": loss.item()}
            log_event(folder / "events.jsonl", "step", step=step, tokens=4 * ROWS, **fields)
        saving = torch.tensor([number(folder / "saving")])
        dist.broadcast(saving, 0)
        if saving.item() and step % SAVE_EVERY == 0:
            save(folder, model, saving.item(), step, first)
        began = time.monotonic()
    if first:
        log_event(folder / "events.jsonl", "end", step=step, outcome="done")
    destroy_process_group()


def save(folder: Path, model: nn.Module, seconds: float, step: int, first: bool) -> None:
    """Write a rank's shard, at a pace as of a slow file system; all wait for the last."""
    began = time.monotonic()
    shards = [part.to_local() for part in model.parameters()]
    with (folder / f"shard-{dist.get_rank()}.pt").open("wb") as file:
        for shard in shards:
            torch.save(shard, file)
            file.flush()
            time.sleep(seconds / len(shards))
    dist.barrier()
    if first:
        log_event(
            folder / "events.jsonl", "checkpoint", step=step, seconds=time.monotonic() - began
        )


if __name__ == "__main__":
    main()
