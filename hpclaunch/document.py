"""YAML text to a typed value, with file, line and key in every complaint.

Recipes and site profiles come through here: parsed once, at the door, and typed ever after.
"""

from __future__ import annotations

import re
import stat
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import yaml

from hpclaunch.errors import UserError, nearest
from hpclaunch.frozen import frozen
from hpclaunch.plain_yaml import MAX_DEPTH, MAX_VALUES, SCALARS, TAG, Dumper, compose, scalar

T = TypeVar("T")

MAX_CHARACTERS = 1 << 24
"""Of a recipe, a profile or another text that people write."""
KeyPath = tuple[str | int, ...]


@frozen
class Document:
    """A parsed YAML mapping and where each of its keys stood.

    `origin` maps a key path such as `("training", "seed")` to `file:line` or `command line`.
    """

    source: str
    data: dict[str, Any]
    origin: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """Return the place of the nearest key at or above `path`."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origin:
                return self.origin[path[:length]]
        return self.source


def parse(text: str, source: str) -> Document:
    """Parse YAML text that must be a mapping. Raises UserError with file and line."""
    try:
        node = compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{source}:{mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{line}: not valid YAML: {problem}") from None
    except ValueError as error:
        raise UserError(f"{source}: not valid YAML: {error}") from None
    origin: dict[KeyPath, str] = {}
    if node is None:
        return Document(source, {}, origin)
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{source}:1: expected 'key: value' lines at the top level")
    data = _build(node, (), source, origin)
    return Document(source, data, origin)


def parse_value(text: str) -> Any:
    """Parse one YAML value as it stands on a command line (`2e-4`, `[q_proj, v_proj]`, `true`).

    Nothing there is a comment: `run #3.jsonl` is a name.
    """
    try:
        node = compose(text)
        if text[node.end_mark.index if node else 0 :].strip():
            return text
        return None if node is None else _build(node, (), "command line", {})
    except (yaml.YAMLError, ValueError, UserError):
        return text


def _build(node: yaml.Node, path: KeyPath, source: str, origin: dict[KeyPath, str]) -> Any:
    """Construct a node's value, noting lines; refuses keys given twice and keys not text."""
    # Aliases can hold themselves, or multiply without end.
    if len(path) > MAX_DEPTH or len(origin) > MAX_VALUES:
        raise UserError(f"{source}:{node.start_mark.line + 1}: more values than any recipe has")
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = f"{source}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f"{line}: keys must be plain words")
            key = str(key_node.value)
            if key in result:
                raise UserError(f"{line}: '{key}' is given twice")
            origin[(*path, key)] = line
            result[key] = _build(value_node, (*path, key), source, origin)
        return result
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            origin[(*path, index)] = f"{source}:{item.start_mark.line + 1}"
            items.append(_build(item, (*path, index), source, origin))
        return items
    line = f"{source}:{node.start_mark.line + 1}"
    kind = node.tag.removeprefix(TAG)
    if kind not in SCALARS:
        raise UserError(f"{line}: values tagged {node.tag} are not understood", "leave the tag out")
    try:
        return scalar(node)
    except ValueError:
        raise UserError(f"{line}: {node.value[:40]!r} is no {kind}") from None


def convert(document: Document, kind: type[T]) -> T:
    """Turn a document into `kind` (a msgspec Struct), refusing unknown keys and wrong types.

    Raises UserError naming file, line and key, and the nearest valid key for an unknown one.
    """
    _refuse_unknown(document, document.data, kind, ())
    try:
        return msgspec.convert(document.data, kind)
    except msgspec.ValidationError as error:
        raise _explained(str(error), document, kind) from None


def _explained(text: str, document: Document, kind: Any) -> UserError:
    """Put msgspec's complaint into the words of someone who writes YAML."""
    path = _error_path(text)
    what = text.partition(" - at ")[0]
    missing = re.match(r"Object missing required field `(\w+)`", what)
    if missing:
        key = ".".join(str(part) for part in (*path, missing.group(1)))
        return UserError(f"{document.where(path)}: key '{key}' is missing")
    key = ".".join(str(part) for part in path)
    place = f"{document.where(path)}: " + (f"{key}: " if key else "")
    if what.startswith("Invalid enum value"):
        value, hint = document.data, kind
        for part in path:
            value, hint = value[part], _inner(hint, part)  # type: ignore[index]  # msgspec found it
        return UserError(f"{place}{value!r} is not valid", f"valid: {', '.join(_choices(hint))}")
    what = what.replace("object`", "mapping`").replace("array`", "list`")
    return UserError(f"{place}{what[0].lower()}{what[1:]}")


def _inner(kind: Any, part: str | int) -> Any:
    """Return the type of one key or item of a value of type `kind`."""
    struct = _struct_of(kind)
    if struct is not None:
        return _hints(struct)[str(part)]
    return get_args(kind)[-1]


def _choices(kind: Any) -> list[str]:
    """Return the words a Literal allows, wherever in the type it stands."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return [choice for inner in get_args(kind) for choice in _choices(inner)]


def _error_path(message: str) -> KeyPath:
    """Read the path out of msgspec's `... - at `$.a.b[0]``."""
    match = re.search(r"at `\$([^`]*)`", message)
    if not match:
        return ()
    parts = re.findall(r"\.([A-Za-z_][\w-]*)|\[(\d+)\]", match.group(1))
    return tuple(name if name else int(index) for name, index in parts)


def _refuse_unknown(document: Document, value: Any, kind: Any, path: KeyPath) -> None:
    """Walk a value beside its type; the first unknown key raises."""
    struct = _struct_of(kind)
    if struct is not None and isinstance(value, dict):
        hints = _hints(struct)
        for key, item in value.items():
            if key not in hints:
                full = ".".join(str(part) for part in (*path, key))
                place = document.where((*path, key))
                raise UserError(f"{place}: unknown key '{full}'", nearest(key, hints))
            _refuse_unknown(document, item, hints[key], (*path, key))
        return
    arguments = get_args(kind)
    if isinstance(value, list) and get_origin(kind) is list:
        for index, item in enumerate(value):
            _refuse_unknown(document, item, arguments[0], (*path, index))
    if isinstance(value, dict) and get_origin(kind) is dict:
        for key, item in value.items():
            _refuse_unknown(document, item, arguments[1], (*path, key))


@cache
def _hints(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the keys of a Struct with their types."""
    return get_type_hints(struct)


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """Return the Struct in a type: itself, or the one of `Struct | None`."""
    if get_origin(kind) in (dict, list):
        return None
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def dump(value: Any) -> str:
    """Write plain values (dicts, lists, scalars) as readable YAML in the order given."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, default_flow_style=False, width=100)


def read_text(path: Path, what: str) -> str:
    """Read a UTF-8 file, or raise UserError naming `what` and the path.

    A pipe that the shell made (`<(...)`) is read, too; another that lies in a folder is not, for
    nobody may ever write to it.
    """
    try:
        mode = path.stat().st_mode
        pipe = stat.S_ISFIFO(mode) and str(path).startswith(("/dev/fd/", "/proc/"))
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or pipe):
            raise UserError(f"{what} is no plain file: {path}")
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_CHARACTERS + 1)
    except FileNotFoundError:
        raise UserError(f"{what} not found: {path}") from None
    except IsADirectoryError:
        raise UserError(f"{what} is a folder, not a file: {path}") from None
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path no system has
        raise UserError(f"{what} cannot be read: {path}: {error}") from None
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"{what} has more than {MAX_CHARACTERS:,} characters: {path}")
    return text
