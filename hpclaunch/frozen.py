"""Frozen dataclasses that a command imports in less time.

`dataclass` writes the text of six methods for each class and compiles it at every start: a quarter
of the time of a dry run. All of them can be the same for all classes: these are here, once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

_T = TypeVar("_T")


@overload
def frozen(cls: type[_T], /) -> type[_T]: ...
@overload
def frozen(*, kw_only: bool) -> Callable[[type[_T]], type[_T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[_T] | None = None, /, *, kw_only: bool = False) -> Any:
    """Make a class what `dataclass(frozen=True)` makes of it, hashable by its values."""
    if cls is None:
        return partial(_made, kw_only=kw_only)
    return _made(cls)


def _made(cls: type[_T], kw_only: bool = False) -> type[_T]:
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
    for method in (__init__, __repr__, __eq__, __hash__):
        # What the class itself defines stays, as with `dataclass`.
        if method.__name__ not in cls.__dict__:
            setattr(made, method.__name__, method)
    made.__setattr__, made.__delattr__ = __setattr__, __delattr__
    return cls


@dataclasses.dataclass
class _Parts:
    """What a class is made of."""

    positional: tuple[str, ...]
    all_names: frozenset[str]
    makers: dict[str, Callable[[], Any]]
    """What gives the value of a name that is left out."""


_parts: dict[type[Any], _Parts] = {}


def _parts_of(cls: type[Any]) -> _Parts:
    if cls not in _parts:
        makers: dict[str, Callable[[], Any]] = {}
        for each in dataclasses.fields(cls):
            if each.default_factory is not dataclasses.MISSING:
                makers[each.name] = each.default_factory
            elif each.default is not dataclasses.MISSING:
                makers[each.name] = partial(_same, each.default)
        fields = dataclasses.fields(cls)
        positional = tuple(each.name for each in fields if not each.kw_only)
        _parts[cls] = _Parts(positional, frozenset(each.name for each in fields), makers)
    return _parts[cls]


def _same(value: Any) -> Any:
    return value


def __init__(self: Any, /, *args: Any, **values: Any) -> None:
    parts = _parts_of(type(self))
    if args:
        given = dict(zip(parts.positional, args, strict=False))
        if len(args) > len(parts.positional) or not given.keys().isdisjoint(values):
            name = type(self).__qualname__
            raise TypeError(f"{name}() got more values than it has names, or one of them twice")
        given.update(values)
    else:
        given = values
    if given.keys() != parts.all_names:
        _complete(given, parts, type(self).__qualname__)
    self.__dict__.update(given)


def _complete(given: dict[str, Any], parts: _Parts, cls: str) -> None:
    """Add what was left out. Raises TypeError for names that are missing or unknown."""
    for name in parts.all_names:
        if name not in given:
            if name not in parts.makers:
                raise TypeError(f"{cls}() lacks {name!r}")
            given[name] = parts.makers[name]()
    if len(given) > len(parts.all_names):
        unknown = ", ".join(map(repr, given.keys() - parts.all_names))
        raise TypeError(f"{cls}() has no {unknown}")


def __setattr__(self: Any, name: str, value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def __delattr__(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


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
