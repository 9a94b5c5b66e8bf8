"""Read what a run saved, by nothing but the formats' own libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpclaunch.run.folder import RunFolder


def adapter_of(folder: RunFolder) -> dict[str, Any]:
    """Return the tensors of the final adapter."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(folder.final / "adapter_model.safetensors")
    return tensors


def checkpoint_tensors(folder: Path) -> dict[str, Any]:
    """Return the tensors of a sharded checkpoint, put together without any ranks."""
    import torch
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

    state: dict[str, Any] = {}
    reader = FileSystemReader(folder)
    _load_state_dict(state, reader, planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    return {name: t for name, t in _flat(state).items() if isinstance(t, torch.Tensor)}


def _flat(state: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts into dotted names."""
    found: dict[str, Any] = {}
    for key, value in state.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
