"""What of a recipe lies on disk: values that name files, made absolute and looked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hpclaunch.document import Document
from hpclaunch.errors import UserError
from hpclaunch.recipe.data_formats import COMPRESSED, SUFFIXES

LOCAL_SUFFIXES = {*SUFFIXES, *COMPRESSED, ".txt", ".zip", ".jinja", ".jinja2", ".j2"}
"""Names that end so are paths: those of data, of what is refused as data, of chat templates."""
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PATHS = (
    ("model", "name", "model folder"),
    ("data", "name", "dataset"),
    ("data", "validation", "validation file"),
    ("training", "chat_template_path", "chat template"),
    ("evaluate", "tasks_dir", "folder of tasks"),
)
"""Keys that may name something on disk, and what it is called when it is not there."""


def is_local(name: str) -> bool:
    """Return whether a resolved recipe's model or dataset is a path rather than a hub id."""
    return (
        name.startswith(("/", "./", "../", "~"))
        or name in {".", ".."}
        or Path(name).suffix in LOCAL_SUFFIXES
        or not _HUB_ID.fullmatch(name.removeprefix("builtin:"))
    )


def is_here(name: str) -> bool:
    """Return whether a dataset's name is that of local data: a path, or one of the package's."""
    return name.startswith("builtin:") or is_local(name)


def _exists(name: str, folder: Path) -> bool:
    """Return whether something of this name lies in a folder: then it is meant, and no hub id."""
    try:
        return not name.startswith("builtin:") and (folder / name).exists()
    except (OSError, ValueError):
        return False


class NamedPath(NamedTuple):
    """A value that may name something on disk."""

    section: dict[str, Any]
    """Where it stands."""
    path: tuple[str | int, ...]
    """Its key, dotted."""
    what: str
    """What it is called when it is not there."""

    @property
    def value(self) -> str:
        """The name or the path."""
        return str(self.section[str(self.path[-1])])


def named_paths(document: Document) -> Iterator[NamedPath]:
    """Return every value that may name something on disk."""
    for section, key, what in _PATHS:
        values = document.data.get(section)
        if isinstance(values, dict):
            yield from _named(values, (section, key), what)
    data = document.data.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    for index, source in enumerate(sources if isinstance(sources, list) else ()):
        if isinstance(source, dict):
            yield from _named(source, ("data", "sources", index, "name"), "dataset")


def _named(section: dict[str, Any], path: tuple[str | int, ...], what: str) -> Iterator[NamedPath]:
    name = section.get(str(path[-1]))
    if isinstance(name, str) and name:
        yield NamedPath(section, path, what)


def absolute_paths(document: Document, folder: Path, keys: Mapping[str, Any] | None = None) -> None:
    """Make relative local paths absolute, in place; an absolute one stays as it is.

    What lies in `folder` is a path even where its name could be a hub id. `keys`: only these.
    """
    for each in named_paths(document):
        name = each.value
        if keys is not None and f"{each.path[0]}.{each.path[1]}" not in keys:
            continue
        _refuse_address(document, each)
        if not is_local(name) and not _exists(name, folder):
            continue
        try:
            path = (folder / Path(name).expanduser()).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            # a NUL byte, a home that nobody has, links that run in a circle
            where = document.where(each.path)
            raise UserError(f"{where}: {each.what}: {name!r} is no path: {error}") from None
        each.section[str(each.path[-1])] = str(path)


def _refuse_address(document: Document, named: NamedPath) -> None:
    """Refuse a web address or that of a storage in place of a path. Raises UserError.

    It is not repeated, for it may hold a key.
    """
    scheme = named.value.partition("://")[0] if "://" in named.value else ""
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme, re.IGNORECASE):
        return
    fix = "download it, and give the path"
    if scheme == "hf" or "huggingface.co/" in named.value or "hf.co/" in named.value:
        fix = "give the hub id as owner/name"
    raise UserError(
        f"{document.where(named.path)}: {named.what}: an address ({scheme}://...) is not read", fix
    )


def check_local_files(document: Document, pending: Sequence[str] = ()) -> None:
    """Refuse local paths that are not there, and that are not `pending`. Raises UserError."""
    for each in named_paths(document):
        name, what = each.value, each.what
        if not is_local(name) or name in pending:
            continue
        try:
            there = Path(name).exists()
        except OSError as error:
            why = f"{what} cannot be read: {name}: {error.strerror}"
            raise UserError(f"{document.where(each.path)}: {why}") from None
        if not there:
            raise UserError(
                f"{document.where(each.path)}: {what} not found: {name}",
                "give a path that exists, or a hub id as owner/name",
            )
