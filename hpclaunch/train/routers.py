"""Routers of mixture-of-experts models: linear layers that choose experts, and get no adapter.

Some families write theirs as a subclass of `torch.nn.Linear` that returns a tuple (Llama 4, Phi
MoE). PEFT's `all-linear` takes those for ordinary layers, and the first forward pass fails.
"""

from __future__ import annotations

import re
from typing import Any


def router_names(model: Any) -> str | None:
    """Return a pattern of the names of a model's routers that look like linear layers; or None."""
    import torch

    names = {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and type(module).__name__.endswith("Router")
    }
    kinds = sorted({re.sub(r"\d+", "#", name) for name in names})
    patterns = (re.escape(kind).replace(r"\#", r"\d+") for kind in kinds)
    return "|".join(patterns) or None
