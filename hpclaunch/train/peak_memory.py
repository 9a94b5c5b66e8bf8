"""Peaks of GPU memory, of loading and of training apart: either may be the higher one.

QLoRA's is while loading: FSDP shards the quantized model while all of it is still on the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from hpclaunch.train.distributed import DistContext


@dataclass(frozen=True)
class Peaks:
    """A rank's GPU memory, in bytes."""

    allocated: int
    """Most bytes of tensors in a training step."""
    reserved: int
    """Most bytes that PyTorch's allocator held in a training step."""
    loading_allocated: int
    """Most bytes of tensors before the first step: loading, sharding, resuming."""


class PeakMemory(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Reads the peak of loading when training begins, and starts anew for the steps."""

    def __init__(self, context: DistContext) -> None:
        self.context = context
        self.loading_allocated = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The model is loaded, sharded and resumed by now."""
        if self.context.device == "cuda":
            import torch

            self.loading_allocated = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> Peaks | None:
        """Return this rank's peaks so far, None on CPUs."""
        if self.context.device != "cuda":
            return None
        import torch

        return Peaks(
            allocated=torch.cuda.max_memory_allocated(),
            reserved=torch.cuda.max_memory_reserved(),
            loading_allocated=self.loading_allocated,
        )
