"""Vision towers of models whose text decoder alone is trained: frozen, without adapters.

AutoModelForCausalLM loads some models (Gemma 3) with the tower and the projector that their images
go through. Text never reaches them: their parameters get no gradient, and would only be decayed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any


def freeze_towers(model: Any) -> str | None:
    """Freeze what stands beside a model's text decoder; return a pattern of the modules' names.

    None where there is nothing beside it. FSDP's wrapping classes that this model does not have,
    which accelerate refuses, are taken out.
    """
    _wrap_present(model)
    towers = list(_towers(model))
    if not towers:
        return None
    for name in towers:
        model.get_submodule(name).requires_grad_(False)
    return rf"({'|'.join(map(re.escape, towers))})(\..*)?"


def remove_towers(model: Any) -> int:
    """Take the towers off a model; return the bytes of their parameters."""
    import torch

    names = list(_towers(model))
    freeze_towers(model)
    held = chain(*(list(model.get_submodule(name).parameters()) for name in names))
    size = sum(int(each.numel() * each.element_size()) for each in held)
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, torch.nn.Identity())
    _wrap_present(model)
    return size


def without_adapters(
    exclude: str | list[str] | None, *patterns: str | None
) -> str | list[str] | None:
    """Return PEFT's `exclude_modules`: the user's own, and patterns of names (towers, routers)."""
    added = [f"({pattern})" for pattern in patterns if pattern is not None]
    if not added:
        return exclude
    if exclude:
        names = exclude if isinstance(exclude, str) else "|".join(map(re.escape, exclude))
        added.insert(0, f"({names})" if isinstance(exclude, str) else rf"(.*\.)?({names})")
    return "|".join(added)


def _wrap_present(model: Any) -> None:
    """Leave FSDP the classes that the model has: accelerate refuses the others of its family."""
    present = {type(module).__name__ for module in model.modules()}
    if set(model._no_split_modules or ()) - present:
        model._no_split_modules = sorted(set(model._no_split_modules) & present)


def _towers(model: Any) -> Iterator[str]:
    """Yield the names of the largest modules that hold none of the decoder's parameters."""
    config = model.config
    if config.get_text_config(decoder=True) is config or not hasattr(config, "text_config"):
        return
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    kept = {id(each) for module in (decoder, head) for each in module.parameters()}
    yield from _beside(model, "", kept)


def _beside(module: Any, prefix: str, kept: set[int]) -> Iterator[str]:
    for name, child in module.named_children():
        held = {id(each) for each in child.parameters()}
        if held and not held & kept:
            yield prefix + name
        elif held - kept:
            yield from _beside(child, f"{prefix}{name}.", kept)
