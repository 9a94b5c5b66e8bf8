"""Names of parameters, from PEFT's wrappers back to the model's own."""

from __future__ import annotations

WRAPPERS = (
    ".token_adapter.base_layer",
    ".base_layer",
    ".original_module",
    ".modules_to_save.default",
    "._checkpoint_wrapped_module",
    "._orig_mod",
)
"""Parts of a name that PEFT, activation checkpointing and torch.compile add."""


def plain_name(name: str) -> str:
    """Return a parameter's name in the base model."""
    name = name.removeprefix("_orig_mod.").removeprefix("base_model.model.")
    for part in WRAPPERS:
        name = name.replace(part, "")
    return name


def unit_of(name: str) -> str:
    """Return the layer that a parameter belongs to, its own name where it is in none."""
    before, dot, after = name.partition(".layers.")
    number = after.partition(".")[0]
    return f"{before}{dot}{number}" if number.isdigit() else name
