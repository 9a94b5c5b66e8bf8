"""Executed by each rank: small models whose sequences all ranks share, against the same alone.

`python -m tests.train.ring FOLDER` under `accelerate launch`: FOLDER/rank-N.json says of each
family how far losses and gradients are from those of one rank.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hpclaunch.recipe.parallel import FAMILIES
from hpclaunch.train import context_parallel, distributed
from tests.train.packed import tiny_model

ROWS, TOKENS = 2, 24


def main(folder: Path) -> None:
    """Compare every family; write this rank's answer."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo")
    context_parallel.enable_on_cpu()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    found = {family: compare(family, mesh) for family in sorted(FAMILIES)}
    (folder / f"rank-{dist.get_rank()}.json").write_text(json.dumps(found), "utf-8")
    distributed.destroy_process_group()


def compare(family: str, mesh: Any) -> dict[str, float]:
    """Return the differences, relative to what one rank has."""
    import torch
    import torch.distributed as dist
    from accelerate.big_modeling import _attach_context_parallel_hooks
    from torch.distributed.tensor.experimental import context_parallel as split

    made = torch.Generator().manual_seed(7)
    ids = torch.randint(1, 97, (ROWS, TOKENS), generator=made)
    labels = torch.nn.functional.pad(ids, (0, 1), value=-100)[:, 1:].contiguous()
    places = torch.arange(TOKENS).repeat(ROWS, 1)
    alone = tiny_model(family, "sdpa", sliding_window=None)
    whole = _step(alone, ids, labels, places)
    shared = tiny_model(family, "sdpa", sliding_window=None)
    _attach_context_parallel_hooks(shared)
    parts = [ids.clone(), labels.clone(), places.clone()]
    with split(mesh, buffers=parts, buffer_seq_dims=[1] * 3, no_restore_buffers=set(parts)):
        assert parts[0].shape == (ROWS, TOKENS // mesh.size())
        loss = _step(shared, *parts)
    dist.all_reduce(loss)
    gradients = []
    for one, other in zip(shared.parameters(), alone.parameters(), strict=True):
        dist.all_reduce(one.grad)
        gradients.append(float((one.grad - other.grad).norm() / (other.grad.norm() + 1e-9)))
    return {"loss": float((loss - whole).abs() / whole), "gradients": max(gradients)}


def _step(model: Any, ids: Any, labels: Any, places: Any) -> Any:
    """Return the sum of the tokens' losses, their gradients made."""
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=ids, position_ids=places, use_cache=False).logits
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    loss.backward()
    return loss.detach()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
