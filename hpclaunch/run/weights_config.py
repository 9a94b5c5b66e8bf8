"""What a config beside weights may say: numbers and names, and nothing that names code.

Libraries refuse most of it themselves. Who made a folder of weights may be anybody, and what they
allow grows with their versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError

_MEGATRON = {None, "megatron.core"}
_IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "experts_implementation")
"""Keys of config.json that may name a kernel to fetch from the hub."""


def check_adapter_config(config: Mapping[str, Any], path: Path) -> None:
    """Refuse an adapter that is no LoRA adapter, or that names modules to import.

    Raises UserError. `path` is that of adapter_config.json.
    """
    kind = config.get("peft_type")
    if kind != "LORA":
        shown = repr(kind)[:40]
        raise UserError(f"{path}: peft_type is {shown}: only LoRA adapters are read")
    if config.get("megatron_config") or config.get("megatron_core") not in _MEGATRON:
        raise UserError(f"{path}: megatron_core names a module to import", "take the key out")
    mapping = config.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    if library is not None and not _of_transformers(library):
        raise UserError(f"{path}: auto_mapping names a module to import", "take the key out")


def check_model_config(config: Mapping[str, Any], path: Path) -> None:
    """Refuse a model that asks for kernels to be fetched from the hub, which are code.

    Raises UserError. `path` is that of config.json.
    """
    for key in _IMPLEMENTATIONS:
        value = config.get(key)
        names = value.values() if isinstance(value, dict) else [value]
        if any(isinstance(name, str) and "/" in name for name in names):
            raise UserError(f"{path}: {key} names a kernel on the hub", "take the key out")


def _of_transformers(library: Any) -> bool:
    return isinstance(library, str) and library.partition(".")[0] == "transformers"
