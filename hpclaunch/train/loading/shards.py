"""A rank's part of a tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor, distribute_tensor


def from_local(local: torch.Tensor, like: DTensor, *, cpu_offload: bool = False) -> DTensor:
    """Return `local` as this rank's part of a tensor with the shape and sharding of `like`."""
    sharded = DTensor.from_local(
        local.detach().contiguous(),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )
    return sharded.cpu() if cpu_offload else sharded


def from_rank_0(full: torch.Tensor, like: DTensor, *, cpu_offload: bool = False) -> DTensor:
    """Return this rank's part of a tensor as rank 0 has it, in the type of `like`. Collective."""
    import torch.distributed as dist

    full = full.detach().to(device_of(like)).contiguous()
    dist.broadcast(full, src=0)
    sharded = distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)
    local = sharded.to_local().to(dtype=like.dtype, copy=True)
    return from_local(local, like, cpu_offload=cpu_offload)


def device_of(like: DTensor) -> torch.device:
    """Return the device of this rank's part."""
    kind: str = like.device_mesh.device_type
    return torch.device(kind) if kind == "cpu" else torch.device(kind, torch.cuda.current_device())


def empty_like(like: DTensor, dtype: Any) -> DTensor:
    """Return a tensor on meta of another type, sharded as `like`."""
    local = torch.empty(like.to_local().shape, dtype=dtype, device="meta")
    return from_local(local, like)
