"""What to change about a run for each thing that can have held it back, by recipe key and flag."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.recipe.training import DEFAULTS
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.run.regular_file import open_regular

_NETWORK = re.compile(r"NCCL INFO Using network (\w+)")
OF_NODES = ("slow-peer", "thermal", "errors", "lost-gpu")
"""Findings about nodes that a job can do without."""
LEAVE_OUT = "Leave it out of the next job, --exclude {nodes}, and tell the site."
"""`{nodes}` is filled in where the finding is made."""
_HEAD = 2**18
"""Bytes at the begin of a log of NCCL's in which it says what it uses."""


def changes(folder: RunFolder, record: Record) -> dict[str, str]:
    """Return the exact change for each key of a finding, as far as this run has a say in it."""
    cpus, mem = (_now(record.resources.get(name)) for name in ("cpus", "mem"))
    found = {
        "few-cores": f"Ask for more cores on a node: --cpus{cpus}.",
        "host-memory": f"Ask for more memory on a node: --mem{mem}.",
    }
    if record.mode != "local" and record.nodes > 1:
        found |= dict.fromkeys(OF_NODES, LEAVE_OUT)
    recipe = None if record.program else _recipe(folder)
    if recipe is None:
        return found
    training = {**DEFAULTS, **recipe.training}
    workers = _whole(training.get("dataloader_num_workers"), 0)
    batch = _whole(training.get("per_device_train_batch_size"), 1)
    every = recipe.checkpoints.every_steps
    larger = (
        f"training.per_device_train_batch_size={2 * batch} (now {batch}) with fewer "
        "training.gradient_accumulation_steps."
    )
    across = record.nodes > 1 and recipe.fsdp.sharding == "full"
    hybrid = "--sharding hybrid where a copy of the model fits into one node; or "
    return found | {
        "data": f"training.dataloader_num_workers={max(4, 2 * workers)} (now {workers}), with "
        f"--cpus enough for them{cpus}.",
        "communication": f"{hybrid}{larger}" if across else larger,
        "checkpoints": f"checkpoints.every_steps={4 * every} (now {every}), or a faster file "
        "system under --runs-dir.",
        "gpu-memory": f"A smaller training.per_device_train_batch_size (now {batch}) or "
        "training.max_length.",
        "gpu-room": larger,
        "idle": f"training.dataloader_num_workers={max(4, 2 * workers)} (now {workers}), fewer "
        f"evaluations and checkpoints.every_steps={4 * every} (now {every}).",
        "disk-waits": "HF_HOME on a faster or a local disk; or hpclaunch prepare before the job, "
        "which leaves tokenized rows to be read.",
    }


def transport(folder: RunFolder) -> str | None:
    """Return what this run's logs say NCCL uses: `Socket`, `IB`; None where they do not."""
    for path in sorted(folder.logs.glob("nccl-*.log")):
        found = _NETWORK.search(_head(path))
        if found:
            return found[1]
    return None


def _head(path: Path) -> str:
    try:
        with open_regular(path) as stream:
            return stream.read(_HEAD).decode(errors="replace")
    except OSError:
        return ""


def _now(value: Any) -> str:
    return "" if value is None else f" (now {value})"


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _recipe(folder: RunFolder) -> Recipe | None:
    try:
        return load(str(folder.recipe))
    except (UserError, OSError, ValueError):
        return None
