"""JSON of one row: decoded, or refused with what is wrong and where in it."""

from __future__ import annotations

import json
import re
from typing import Any

from hpclaunch.dataset.rows import REPAIR, not_utf8, nul_byte
from hpclaunch.errors import UserError

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class DuplicateKeyError(ValueError):
    """A key that stands twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys differ: of two values, which is meant is not known."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DuplicateKeyError(f"the key {twice!r} stands twice in one object")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_unique)
"""Decodes JSON, and raises DuplicateKeyError too."""


def decoded(line: bytes, where: str) -> str:
    """Return a line as text. Raises UserError."""
    try:
        return line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise not_utf8(line, error, where) from None


def object_of(text: str, where: str) -> dict[str, Any]:
    """Read one row. Raises UserError saying what is wrong with it, and where in it."""
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise fault(error, text, where) from None
    return checked(value, text, where)


def checked(value: Any, text: str, where: str) -> dict[str, Any]:
    """Return a decoded row. Raises UserError where it is none, or holds half a character."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: a row must be a JSON object", REPAIR)
    if _ESCAPED_SURROGATE.search(text):
        key = _with_surrogate(value)
        if key is not None:
            raise UserError(
                f"{where}: '{key}' holds half of a surrogate pair (\\ud8.. or \\udc.. alone), "
                "which is no character",
                REPAIR,
            )
    return value


def _with_surrogate(row: dict[str, Any]) -> str | None:
    """Return the key whose value, or which itself, holds a lone surrogate."""
    for key, value in row.items():
        try:
            json.dumps([key, value], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return key.encode("ascii", "backslashreplace").decode()
    return None


def fault(error: Exception, text: str, where: str) -> UserError:
    """Return the error for text that is no JSON."""
    if isinstance(error, json.JSONDecodeError):
        if "\0" in text:
            return nul_byte(text, where)
        if text.startswith("\ufeff"):
            return UserError(f"{where}: begins with a byte order mark", "take it out")
        return UserError(f"{where}: not valid JSON: {error.msg} at column {error.colno}", REPAIR)
    if isinstance(error, DuplicateKeyError):
        return UserError(f"{where}: {error}", REPAIR)
    # too deep; a number of thousands of digits
    return UserError(f"{where}: cannot be read as JSON: {error}", REPAIR)
