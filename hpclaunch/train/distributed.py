"""torch.distributed as the training uses it: rank, world size, process group, collectives."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from hpclaunch.errors import UserError

T = TypeVar("T")
TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}

LONG_TIMEOUT = 7200
"""Seconds that ranks wait for each other while a large model is loaded or saved."""

LAST_COLLECTIVE_SECONDS = 0.1
"""Seconds that the last collective's tensors get to be freed; some thousand times what it takes."""


def _flag(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in TRUE


@dataclass(frozen=True)
class DistContext:
    """The ranks as this one sees them."""

    rank: int
    world_size: int
    device: Literal["cpu", "cuda"]
    fsdp_version: int
    """FSDP's version, 0 where every rank holds the whole model."""
    local_rank: int = 0
    """Number within the node."""
    node: int = 0
    nodes: int = 1
    zero_stage: int = 0
    """Stage of DeepSpeed's ZeRO, 0 without DeepSpeed."""

    @property
    def sharding(self) -> str:
        """What shards the model, in words."""
        if self.zero_stage:
            return f"DeepSpeed ZeRO-{self.zero_stage}"
        return f"FSDP {self.fsdp_version}" if self.fsdp_version else "no sharding"

    @property
    def is_main_process(self) -> bool:
        """Whether this is rank 0, which writes events, log lines and the final weights."""
        return self.rank == 0


def context_from_env() -> DistContext:
    """Return the context that `accelerate launch` sets in the environment.

    Raises UserError for what cannot run, before a model is loaded.
    """
    import torch

    zero = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "0"))
    zero = zero if _flag("ACCELERATE_USE_DEEPSPEED") else 0
    chosen = _deepspeed_on_cpu() if zero else _flag("ACCELERATE_USE_CPU")
    on_cpu = chosen or not torch.cuda.is_available()
    meant_gpus = os.environ.get("ACCELERATE_USE_CPU", "").strip().lower() in FALSE or zero
    if on_cpu and meant_gpus and not chosen:
        # The launcher meant GPUs: training a large model on a CPU instead would take for ever.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        raise UserError(
            f"this rank sees no GPU (CUDA_VISIBLE_DEVICES={visible})",
            "see that torch is built for CUDA and that the job asks for GPUs",
        )
    if on_cpu and not zero:  # with it accelerate would leave DeepSpeed out
        os.environ["ACCELERATE_USE_CPU"] = "true"  # so that accelerate decides alike
    fsdp = int(os.environ.get("FSDP_VERSION", "1")) if _flag("ACCELERATE_USE_FSDP") else 0
    if on_cpu and fsdp == 1:
        raise UserError("FSDP 1 cannot run on CPUs", "set fsdp.version: 2")
    if on_cpu and fsdp and _flag("FSDP_OFFLOAD_PARAMS"):
        raise UserError("fsdp.offload needs a GPU to offload from", "set fsdp.offload: false")
    if fsdp and _flag("FSDP_ACTIVATION_CHECKPOINTING"):
        # With LoRA and sharded state this writes checkpoints without a single weight, silently.
        raise UserError(
            "FSDP's own activation checkpointing loses the adapter in checkpoints",
            "set fsdp_activation_checkpointing: false (training.gradient_checkpointing does it)",
        )
    return DistContext(
        rank=int(os.environ.get("RANK", "0")),
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        device="cpu" if on_cpu else "cuda",
        fsdp_version=fsdp,
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        node=int(os.environ.get("GROUP_RANK", "0")),
        nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
        zero_stage=zero,
    )


def _deepspeed_on_cpu() -> bool:
    """Return whether DeepSpeed computes on the CPU, by its own variable."""
    return os.environ.get("DS_ACCELERATOR", "").strip().lower() == "cpu"


def init_process_group(context: DistContext, arguments: Any) -> None:
    """Create the process group, and enable FSDP on CPUs. `arguments`: TRL's config.

    accelerate has FSDP for accelerators only: several CPU processes become plain DDP. Its state is
    set to "several devices" after the group is created (over gloo, on CPUs) and before the trainer
    reads it, so that it takes the ordinary FSDP path.
    """
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    arguments.device  # noqa: B018 - reading it creates the process group
    if context.fsdp_version == 2:
        patch_final_norm_lookup()
    if context.device == "cpu" and context.fsdp_version:
        state = PartialState._shared_state
        if state["distributed_type"] == DistributedType.MULTI_CPU:
            state["distributed_type"] = DistributedType.MULTI_GPU


def patch_final_norm_lookup() -> None:
    """Let accelerate find the final norm of a PEFT model, as it does of a plain one.

    It shards norm and output head as one unit, unsharded from the norm on. In a PEFT model it looks
    for the norm one level too high and shards the head by itself. TRL's fused loss then reads a
    head that is still sharded, and each rank's shard gets the gradient of that rank's own samples
    alone: a head that is trained (new tokens, modules_to_save) learns wrongly, silently.
    """
    from accelerate.utils import fsdp_utils

    find = fsdp_utils._find_final_norm
    if getattr(find, "handles_peft", False):
        return

    def find_in_base_model(model: Any) -> Any:
        return find(model.get_base_model() if hasattr(model, "get_base_model") else model)

    find_in_base_model.handles_peft = True  # type: ignore[attr-defined]  # marks that it is done
    fsdp_utils._find_final_norm = find_in_base_model


def broadcast_number(context: DistContext, number: int) -> int:
    """Return rank 0's `number` on all ranks. Collective: all must call it at the same place."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        return number
    value = torch.tensor([number], device=context.device)
    dist.broadcast(value, src=0)
    return int(value.item())


def all_gather_object(context: DistContext, value: T) -> list[T]:
    """Return the values of all ranks, by rank. Collective."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * context.world_size
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait for all ranks. Collective."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def destroy_process_group() -> None:
    """Destroy the process group. Without it a finished run sometimes dies at exit with code -6."""
    import torch.distributed as dist

    if dist.is_initialized():
        # gloo's threads need the interpreter's lock to let go of the last collective's tensors, and
        # the end of the group holds that lock while it waits for them: let them have it first.
        time.sleep(LAST_COLLECTIVE_SECONDS)
        dist.destroy_process_group()
