"""The ready-made recipes that come with the package."""

from __future__ import annotations

from functools import cache

from hpclaunch.errors import UserError, nearest
from hpclaunch.shipped import shipped

DEFAULT = "llama3-70b-lora"
"""What `hpclaunch sbatch` runs when no recipe is named."""

TINY = "tiny"
"""What `hpclaunch local` runs when no recipe is named: the demo's small Llama."""

BUILTIN_MODELS = ("builtin:tiny-llama",)
"""Models that come with the package."""

BUILTIN_DATA = (
    "builtin:cluster-questions",
    "builtin:cluster-preferences",
    "builtin:cluster-feedback",
    "builtin:cluster-pages",
)
"""Datasets that come with the package."""


@cache
def names() -> tuple[str, ...]:
    """Return the packaged recipes' names, sorted."""
    folder = shipped("recipe", "ready")
    return tuple(
        sorted(
            entry.name.removesuffix(".yaml")
            for entry in folder.iterdir()
            if entry.name.endswith(".yaml")
        )
    )


def text(name: str) -> str:
    """Return a packaged recipe's YAML, comments and all. Raises UserError for an unknown name."""
    if name not in names():
        raise UserError(f"no recipe called '{name}'", nearest(name, names()))
    folder = shipped("recipe", "ready")
    return folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8")
