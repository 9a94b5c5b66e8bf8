"""Keeps the types of what a sharded model returns, such as log-probabilities in 32 bits.

Under bf16 accelerate has every unit of FSDP 2 return bfloat16, the outermost one too: a loss is
rounded to three digits, and so is each token's log-probability, of which preference losses take
small differences. A rank that has none of a kind then gathers another type than the others, which
gloo refuses and NCCL does not see.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import TrainerCallback


def keep_output_types(model: Any) -> None:
    """Let a model that FSDP 2 shards return its own types, not the mixed-precision policy's.

    `output_dtype` is unset for two FSDP units: the outermost, and the one of final norm and output
    head, whose hook sees the model's output where the fused loss reads the head's weights itself.
    Layers keep theirs.
    """
    from torch.distributed.fsdp import FSDPModule

    root = getattr(model, "_orig_mod", model)  # of torch.compile
    for module in root.modules():
        if isinstance(module, FSDPModule):
            state = module._get_fsdp_state()
            if module is root or len(state._modules) > 1:
                state._mp_policy = dataclasses.replace(state._mp_policy, output_dtype=None)


class KeepOutputTypes(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Calls `keep_output_types` when the trainer has sharded its model."""

    def on_train_begin(self, *_: Any, model: Any = None, **__: Any) -> None:
        """Keep the types of the outputs."""
        keep_output_types(model)
