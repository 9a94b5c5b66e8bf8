"""What the words of `hpclaunch fetch` mean: repositories of the hub. Nothing is asked of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from hpclaunch.errors import UserError, nearest
from hpclaunch.frozen import frozen
from hpclaunch.recipe import library
from hpclaunch.recipe.load import is_override, load
from hpclaunch.recipe.mixture import parts_of
from hpclaunch.recipe.paths import is_here, is_local
from hpclaunch.recipe.schema import Recipe

KERNELS = {
    "flash_attention_2": "kernels-community/flash-attn2",
    "flash_attention_3": "kernels-community/vllm-flash-attn3",
}
"""The hub's kernels that Transformers takes where the package of an attention is not installed."""

Kind = Literal["model", "dataset", "kernel"]
_KIND: dict[str, Kind] = {"models": "model", "datasets": "dataset", "kernels": "kernel"}
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


@frozen
class Wanted:
    """A repository that is asked for."""

    name: str
    kind: Kind | None = None
    """None: the hub is asked."""
    revision: str | None = None
    subset: str | None = None


def wanted(
    words: Sequence[str], tasks: Callable[[str], Sequence[Wanted]] = lambda _: ()
) -> tuple[Wanted, ...]:
    """Return what recipes, models, datasets and tasks name, each once. Raises UserError.

    `section.key=value` words change the recipes. `tasks` returns the datasets of an evaluation
    task; none for another word.
    """
    overrides = [word for word in words if is_override(word)]
    named = [word for word in words if word not in overrides]
    if not named:
        raise UserError(
            "nothing is named to fetch", "name a recipe, a model, or a dataset as datasets/ID"
        )
    found: list[Wanted] = []
    recipes = 0
    for word in named:
        if is_recipe(word):
            recipes += 1
            recipe = load(word, overrides)
            found += of_recipe(recipe)
            found += [each for task in recipe.evaluate.tasks for each in tasks(task)]
        else:
            found += ("/" not in word and tasks(word)) or [_repository(word)]
    if overrides and not recipes:
        raise UserError(f"{overrides[0]} changes a recipe, and none is named", "name the recipe")
    return tuple(dict.fromkeys(found))


def is_recipe(word: str) -> bool:
    """Return whether a word names a recipe: a ready one, or a file."""
    path = Path(word)
    return word in library.names() or path.suffix in {".yaml", ".yml"} or path.is_file()


def of_recipe(recipe: Recipe) -> Iterator[Wanted]:
    """Return what a run of a recipe reads from the hub: model, data, attention kernel."""
    model = recipe.model
    if _on_hub(model.name):
        yield Wanted(model.name, "model", model.revision)
    if model.attention in KERNELS:
        yield Wanted(KERNELS[model.attention], "kernel")
    data = recipe.data
    for part, _ in parts_of(data):
        if _on_hub(part.name):
            yield Wanted(part.name, "dataset", part.revision, part.subset)
    if data.validation is not None and _on_hub(data.validation):
        yield Wanted(data.validation, "dataset")


def described(items: Iterable[Wanted]) -> list[dict[str, str | None]]:
    """Return the items as the program that fetches them reads them."""
    return [
        {"kind": each.kind, "name": each.name, "revision": each.revision, "subset": each.subset}
        for each in items
    ]


def _on_hub(name: str) -> bool:
    return not (is_here(name) or name.startswith("builtin:"))


def _repository(word: str) -> Wanted:
    """Return what `owner/name`, `datasets/owner/name:config` and `...@revision` mean.

    Raises UserError.
    """
    name, _, revision = word.removeprefix("https://huggingface.co/").partition("@")
    name, _, subset = name.partition(":")
    prefix, _, rest = name.partition("/")
    kind = _KIND.get(prefix) if rest else None
    if kind is not None:
        name = f"kernels-community/{rest}" if kind == "kernel" and "/" not in rest else rest
    if is_local(name) or Path(word).is_dir():
        raise UserError(f"{word} is on this machine: nothing is to be fetched")
    if not _HUB_ID.fullmatch(name):
        raise UserError(f"'{word}' is no recipe and no hub id", nearest(word, library.names()))
    if subset and kind != "dataset":
        raise UserError(f"'{word}': only datasets have configurations", f"datasets/{name}:{subset}")
    return Wanted(name, kind, revision or None, subset or None)
