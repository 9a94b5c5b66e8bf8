"""The ready-made recipes that come with the package."""

from __future__ import annotations

from functools import cache

from hpclaunch.errors import UserError, nearest
from hpclaunch.recipe.families import published_models, recipe_text
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
    "builtin:cluster-prompts",
)
"""Datasets that come with the package."""


@cache
def names() -> tuple[str, ...]:
    """Return the packaged recipes' names, sorted."""
    folder = shipped("recipe", "ready")
    files = (entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    found = {name.removesuffix(".yaml") for name in files}
    for model in published_models():
        found |= set(model.recipes)
    return tuple(sorted(found))


def text(name: str) -> str:
    """Return a packaged recipe's YAML, comments and all. Raises UserError for an unknown name."""
    if name not in names():
        raise unknown(name)
    made = recipe_text(name)
    if made is not None:
        return made
    folder = shipped("recipe", "ready")
    return folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def unknown(name: str) -> UserError:
    """Return the error for a recipe that is not there, with the one that was probably meant."""
    near = nearest(name, names())
    fix = near if near.startswith("did you mean") else "hpclaunch recipes ls lists all"
    return UserError(f"no recipe called '{name}'", fix)
