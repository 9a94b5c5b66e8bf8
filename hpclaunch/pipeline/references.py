"""`${STAGE.final}` in a pipeline's file: what a stage leaves for a later one. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from hpclaunch.errors import UserError

_REFERENCE = re.compile(r"\$\{([^}]*)\}?")
_FORM = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\.(final|folder)")


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Yield stage and part (`final`, `folder`) of each reference in a value, however deep.

    Raises UserError for one that is written wrongly.
    """
    if isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            form = _FORM.fullmatch(match.group(1))
            if form is None or not match.group().endswith("}"):
                raise UserError(
                    f"{match.group()!r} is no reference",
                    "write ${STAGE.final} for what a stage leaves, ${STAGE.folder} for its folder",
                )
            yield form.group(1), form.group(2)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(value: Any, place: Callable[[str, str], str]) -> Any:
    """Return a value with each reference replaced by `place(stage, part)`."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: place(*match.group(1).split(".", 1)), value)
    if isinstance(value, dict):
        return {key: resolved(inner, place) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, place) for inner in value]
    return value
