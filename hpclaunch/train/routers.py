"""Linear layers that get no adapter: routers of experts, grouped ones, what Mamba's kernels read.

Some families write theirs as a subclass of `torch.nn.Linear` that returns a tuple (Llama 4, Phi
MoE), or takes its input in groups (DeepSeek V4). PEFT's `all-linear` takes those for ordinary
layers, and the first forward pass fails. The
kernels of Mamba take the weights of `out_proj` themselves, past an adapter, and PEFT refuses them.
"""

from __future__ import annotations

import re
from typing import Any

_NO_PLAIN_LINEARS = ("Router", "GroupedLinear")
"""How the names of classes end that compute something else than a linear layer."""
_MAMBA = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
"""`model_type`s of which PEFT refuses `out_proj`, and with it the whole of `all-linear`."""


def left_out_of_adapters(model: Any, target_modules: Any) -> str | None:
    """Return a pattern of the names of modules that get no adapter by themselves; or None.

    `target_modules`: the recipe's. What it names itself is PEFT's to refuse.
    """
    everything = target_modules == "all-linear"
    mamba = everything and getattr(model.config, "model_type", None) in _MAMBA
    patterns = (router_names(model), r".*\.out_proj" if mamba else None)
    return "|".join(each for each in patterns if each) or None


def router_names(model: Any) -> str | None:
    """Return a pattern of the names of a model's routers and grouped layers; or None.

    Those alone that look like linear layers.
    """
    import torch

    names = {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and type(module).__name__.endswith(_NO_PLAIN_LINEARS)
    }
    kinds = sorted({re.sub(r"\d+", "#", name) for name in names})
    patterns = (re.escape(kind).replace(r"\#", r"\d+") for kind in kinds)
    return "|".join(patterns) or None
