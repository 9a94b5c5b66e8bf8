"""From what the user typed to a resolved Recipe: file or name, overrides, flags, defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.document import Document, convert, dump, parse, parse_value, read_text
from hpclaunch.errors import UserError, nearest
from hpclaunch.recipe import library
from hpclaunch.recipe.address import check_addresses
from hpclaunch.recipe.best import check_best, check_evaluated
from hpclaunch.recipe.evaluate import check_evaluate
from hpclaunch.recipe.foreign import refuse_foreign, refuse_script
from hpclaunch.recipe.global_batch import FOLLOWS, later_word, with_global_batch
from hpclaunch.recipe.levers import check_levers, refuse_use_kernels
from hpclaunch.recipe.mixture import check_mixture, drop_null_name
from hpclaunch.recipe.parallel import with_context_parallel
from hpclaunch.recipe.paths import absolute_paths, check_local_files, is_local, named_paths
from hpclaunch.recipe.recomputation import FIELD, last_word, with_level
from hpclaunch.recipe.rewards import absolute_rewards, check_grpo
from hpclaunch.recipe.schema import Recipe
from hpclaunch.recipe.training import check_training, with_defaults
from hpclaunch.recipe.zero import with_zero

__all__ = ["is_local", "is_override", "load", "split_override", "to_yaml"]

_OVERRIDE = re.compile(r"^([A-Za-z_][\w-]*(?:\.[\w-]+)+)=(.*)$", re.DOTALL)


def load(
    reference: str,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    *,
    own_program: bool = False,
    pending: Sequence[str] = (),
) -> Recipe:
    """Return the recipe called `reference` (a packaged name or a file), resolved.

    `overrides` are `section.key=value` words; `flags` maps dotted keys to values that command-line
    options set (`{"method.kind": "qlora"}`), applied last. `own_program`: a program of the user's
    trains, with its sharding from the recipe. Local paths become absolute: those in a file count
    from the file's folder, those on the command line from the current one. `pending`: paths that
    another job makes before this one starts, which need not be there yet.
    Raises UserError naming file, line and key.
    """
    document, folder = _document(reference)
    _move_objective(document)
    for section in [key for key, value in document.data.items() if value is None]:
        del document.data[section]  # its name alone, every key under it commented out
    absolute_paths(document, folder)
    absolute_rewards(document, folder)
    typed: dict[str, Any] = {}
    for word in overrides:
        key, value = split_override(word)
        typed[key] = value
    typed.update(flags or {})
    last_word(document.data, typed)
    later_word(document.data, typed)
    for key, value in typed.items():
        _set(document, key, value)
    absolute_paths(document, Path.cwd(), typed)
    absolute_rewards(document, Path.cwd(), typed)
    drop_null_name(document)
    refuse_use_kernels(document)
    check_training(document)
    check_addresses(document)
    recipe = convert(document, Recipe)
    check_local_files(document, pending)
    check_mixture(document, recipe)
    for each in named_paths(document):
        builtin = library.BUILTIN_MODELS if each.path[0] == "model" else library.BUILTIN_DATA
        if each.value.startswith("builtin:") and each.value not in builtin:
            what = "model" if each.path[0] == "model" else "dataset"
            raise UserError(
                f"{document.where(each.path)}: no builtin {what} '{each.value}'",
                nearest(each.value, builtin),
            )
    check_evaluated(recipe, typed)
    check_best(document, recipe)
    check_evaluate(document, recipe)
    check_grpo(document, recipe)
    if not own_program:
        recipe = with_zero(recipe)
    given = recipe.training
    training = with_defaults(given, recipe.objective, recipe.method.kind, own_program=own_program)
    recipe = with_level(recipe, training, own_program=own_program)
    if not own_program:
        check_levers(recipe)
    recipe = with_context_parallel(recipe, own_program=own_program)
    return with_global_batch(recipe, given, recipe.training)


def _move_objective(document: Document) -> None:
    """Put an `objective` at the top, where it was before, under `method`. Raises UserError."""
    if "objective" not in document.data:
        return
    objective = document.data.pop("objective")
    path, where = ("method", "objective"), document.where(("objective",))
    method = document.data.get("method") or {}
    if not isinstance(method, dict) or objective is None:
        return  # the schema says so
    if method.get("objective", objective) != objective:
        raise UserError(f"{where}: objective and method.objective differ", "keep method.objective")
    document.data["method"] = {**method, "objective": objective}
    document.origin[path] = where


def split_override(word: str) -> tuple[str, Any]:
    """Split `training.learning_rate=2e-4` into its key and parsed value. Raises UserError."""
    match = _OVERRIDE.match(word)
    if not match:
        raise UserError(
            f"'{word}' is not an override", "write section.key=value, as training.seed=7"
        )
    return match.group(1), parse_value(match.group(2))


def is_override(word: str) -> bool:
    """Return whether a command-line word is meant as `key=value` rather than as a recipe."""
    return "=" in word and not Path(word).exists()


def to_yaml(recipe: Recipe) -> str:
    """Write a resolved recipe as YAML that `load` reads back to the same value."""
    document = msgspec.to_builtins(recipe)
    if recipe.performance.activation_checkpointing == "auto":
        document["training"].pop(FIELD, None)  # set, it would decide
    if not recipe.follows_global_batch:
        document.pop(FOLLOWS)
    return dump(document)


def _document(reference: str) -> tuple[Document, Path]:
    """Read the YAML of a packaged recipe or of a file, and the folder its paths count from."""
    path = Path(reference).expanduser()
    if path.suffix in {".yaml", ".yml"} or "/" in reference:
        return _file(path, reference), path.resolve().parent
    if reference in library.names():
        return parse(library.text(reference), f"{reference}.yaml"), Path.cwd()
    if path.is_file():
        return _file(path, reference), path.resolve().parent
    raise library.unknown(reference)


def _file(path: Path, reference: str) -> Document:
    """Read a recipe's file. Raises UserError, for a file of another tool with what it is."""
    text = read_text(path, "recipe")
    refuse_script(text, reference)
    document = parse(text, reference)
    refuse_foreign(document)
    return document


def _set(document: Document, key: str, value: Any) -> None:
    """Put one dotted key into the document, noting that it came from the command line."""
    path = tuple(key.split("."))
    target = document.data
    for depth, part in enumerate(path[:-1], 1):
        inner = target.get(part)
        if not isinstance(inner, dict):
            inner = {}
            target[part] = inner
            document.origin[path[:depth]] = "command line"
        target = inner
    target[path[-1]] = value
    document.origin[path] = "command line"
