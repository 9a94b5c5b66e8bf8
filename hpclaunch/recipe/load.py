"""From what the user typed to a resolved Recipe: file or name, overrides, flags, defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.document import Document, convert, dump, parse, parse_value, read_text
from hpclaunch.errors import UserError, nearest
from hpclaunch.recipe import library
from hpclaunch.recipe.address import check_addresses
from hpclaunch.recipe.best import check_best
from hpclaunch.recipe.foreign import refuse_foreign, refuse_script
from hpclaunch.recipe.global_batch import FOLLOWS, later_word, with_global_batch
from hpclaunch.recipe.levers import check_levers
from hpclaunch.recipe.recomputation import FIELD, last_word, with_level
from hpclaunch.recipe.schema import Recipe
from hpclaunch.recipe.training import check_training, with_defaults

LOCAL_SUFFIXES = {
    *(".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt"),
    *(".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"),
    *(".jinja", ".jinja2", ".j2"),
}
_OVERRIDE = re.compile(r"^([A-Za-z_][\w-]*(?:\.[\w-]+)+)=(.*)$", re.DOTALL)
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PATHS = (
    ("model", "name", "model folder"),
    ("data", "name", "dataset"),
    ("data", "validation", "validation file"),
    ("training", "chat_template_path", "chat template"),
)
"""Keys that may name something on disk, and what it is called when it is not there."""


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
    _absolute_paths(document, folder)
    typed: dict[str, Any] = {}
    for word in overrides:
        key, value = split_override(word)
        typed[key] = value
    typed.update(flags or {})
    last_word(document.data, typed)
    later_word(document.data, typed)
    for key, value in typed.items():
        _set(document, key, value)
    _absolute_paths(document, Path.cwd(), typed)
    check_training(document)
    check_addresses(document)
    recipe = convert(document, Recipe)
    _check_local_files(document, pending)
    for section, key, what, builtin in (
        ("model", recipe.model.name, "model", library.BUILTIN_MODELS),
        ("data", recipe.data.name, "dataset", library.BUILTIN_DATA),
    ):
        if key.startswith("builtin:") and key not in builtin:
            where = document.where((section, "name"))
            raise UserError(f"{where}: no builtin {what} '{key}'", nearest(key, builtin))
    check_best(document, recipe)
    given = recipe.training
    training = with_defaults(given, recipe.objective, recipe.method.kind, own_program=own_program)
    recipe = with_level(recipe, training, own_program=own_program)
    if not own_program:
        check_levers(recipe)
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


def is_local(name: str) -> bool:
    """Return whether a resolved recipe's model or dataset is a path rather than a hub id."""
    return (
        name.startswith(("/", "./", "../", "~"))
        or name in {".", ".."}
        or Path(name).suffix in LOCAL_SUFFIXES
        or not _HUB_ID.fullmatch(name.removeprefix("builtin:"))
    )


def _exists(name: str, folder: Path) -> bool:
    """Return whether something of this name lies in a folder: then it is meant, and no hub id."""
    try:
        return not name.startswith("builtin:") and (folder / name).exists()
    except (OSError, ValueError):
        return False


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


def _named_paths(document: Document) -> Iterator[tuple[str, str, str, str]]:
    """Return section, key, value and kind of every value that may name something on disk."""
    for section, key, what in _PATHS:
        values = document.data.get(section)
        name = values.get(key) if isinstance(values, dict) else None
        if isinstance(name, str) and name:
            yield section, key, name, what


def _absolute_paths(
    document: Document, folder: Path, keys: Mapping[str, Any] | None = None
) -> None:
    """Make relative local paths absolute, in place; an absolute one stays as it is.

    What lies in `folder` is a path even where its name could be a hub id. `keys`: only these.
    """
    for section, key, name, what in _named_paths(document):
        if keys is not None and f"{section}.{key}" not in keys:
            continue
        if not is_local(name) and not _exists(name, folder):
            continue
        try:
            path = (folder / Path(name).expanduser()).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            # a NUL byte, a home that nobody has, links that run in a circle
            where = document.where((section, key))
            raise UserError(f"{where}: {what}: {name!r} is no path: {error}") from None
        document.data[section][key] = str(path)


def _check_local_files(document: Document, pending: Sequence[str]) -> None:
    """Refuse local paths that are not there, and that are not `pending`. Raises UserError."""
    for section, key, name, what in _named_paths(document):
        if not is_local(name) or name in pending:
            continue
        try:
            there = Path(name).exists()
        except OSError as error:
            why = f"{what} cannot be read: {name}: {error.strerror}"
            raise UserError(f"{document.where((section, key))}: {why}") from None
        if not there:
            raise UserError(
                f"{document.where((section, key))}: {what} not found: {name}",
                "give a path that exists, or a hub id as owner/name",
            )
