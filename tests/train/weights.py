"""Read what a run saved, by nothing but the formats' own libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpclaunch.run.folder import RunFolder


def adapter_of(folder: RunFolder) -> dict[str, Any]:
    """Return the tensors of the final adapter."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(folder.final / "adapter_model.safetensors")
    return tensors


def checkpoint_tensors(folder: Path) -> dict[str, Any]:
    """Return the tensors of a sharded checkpoint, put together from its files by its index."""
    import torch
    from safetensors import safe_open

    index = json.loads((folder / "dcp.json").read_text("utf-8"))
    tensors: dict[str, Any] = {}
    for name, item in index["tensors"].items():
        for offsets, sizes, file in item["chunks"]:
            with safe_open(folder / file, framework="pt") as opened:
                part = opened.get_tensor(name)
            assert list(part.shape) == sizes
            whole = tensors.setdefault(name, torch.empty(item["shape"], dtype=part.dtype))
            whole[tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))] = part
    return tensors
