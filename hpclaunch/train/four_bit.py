"""4-bit layers on CPUs: their weights stay in the form that FSDP shards."""

from __future__ import annotations

from typing import Any


def keep_unpacked(model: Any) -> None:
    """Have bitsandbytes not pack the 4-bit weights of a CPU for inference.

    On CPUs with AVX512-BF16 it would, in the first evaluation or forward pass of a reference model.
    FSDP's next all-gather brings the plain weights again, which would then be read as packed ones:
    wrong, silently.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
