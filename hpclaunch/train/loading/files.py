"""What is still to be read of a model that is laid out on the meta device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class NotDeferredError(Exception):
    """This model must be loaded whole; its text is the reason, for a log line."""


@dataclass(frozen=True)
class Deferred:
    """What `from_pretrained` would have read, and how."""

    files: list[str]
    """Safetensors files."""
    load_config: Any
    """Transformers' LoadStateDictConfig."""
    skeleton: Any
    """The same model on meta without quantized layers, adapters or sharding: its parameters have
    the names that those of the files are mapped to, and the types they are loaded in."""
    keep: bool = False
    """4-bit weights are kept in the cache, and read from there."""


def deferred_load(model: Any) -> Deferred | None:
    """Return what is still to be read of a Transformers model; None: it is loaded."""
    return getattr(model, "deferred_load", None)
