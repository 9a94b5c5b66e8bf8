"""Frozen dataclasses that a command imports in less time.

`dataclass` writes the text of six methods for each class and compiles it at every start: a quarter
of the time of a dry run. Three of them can be the same for all classes: these are here, once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[_T]) -> type[_T]:
    """Make a class what `dataclass(frozen=True)` makes of it, hashable by its values."""
    made: Any = dataclasses.dataclass(frozen=True, repr=False, eq=False)(cls)
    for method in (__repr__, __eq__, __hash__):
        # What the class itself defines stays, as with `dataclass`.
        if method.__name__ not in cls.__dict__:
            setattr(made, method.__name__, method)
    return cls


_getters: dict[type[Any], Callable[[Any], tuple[Any, ...]]] = {}


def _values(instance: Any) -> tuple[Any, ...]:
    """Return what an instance is compared by."""
    cls = type(instance)
    if cls not in _getters:
        names = [each.name for each in dataclasses.fields(cls) if each.compare]
        # With one name or none, attrgetter gives no tuple.
        _getters[cls] = (
            attrgetter(*names)
            if len(names) > 1
            else lambda this: tuple(getattr(this, name) for name in names)
        )
    return _getters[cls](instance)


def __eq__(self: Any, other: object) -> bool:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _values(self) == _values(other)


def __hash__(self: Any) -> int:
    return hash(_values(self))


def __repr__(self: Any) -> str:
    shown = (
        f"{each.name}={getattr(self, each.name)!r}"
        for each in dataclasses.fields(self)
        if each.repr
    )
    return f"{self.__class__.__qualname__}({', '.join(shown)})"
