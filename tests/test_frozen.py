"""`frozen` makes of a class what `dataclass(frozen=True)` makes of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import pytest

from hpclaunch.frozen import frozen


class Point:
    x: float
    y: tuple[int, ...] = (1,)
    note: str = field(default="", compare=False)
    hidden: int = field(default=0, repr=False)


class Made:
    x: int = 1
    several: list[int] = field(default_factory=list)


class Single:
    x: float


class Empty:
    pass


class Own:
    x: int

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "own"


def copy_of(cls: type[Any]) -> type[Any]:
    own = {
        name: each for name, each in vars(cls).items() if name not in ("__dict__", "__weakref__")
    }
    return type(cls.__name__, cls.__bases__, own)


@pytest.mark.parametrize("cls", [Point, Single, Empty, Own])
def test_it_behaves_as_the_standard_librarys(cls: type[Any]) -> None:
    ours: Any = frozen(copy_of(cls))
    theirs: Any = dataclass(frozen=True)(copy_of(cls))
    nan = float("nan")
    values = [()] if cls is Empty else [(1.5,), (2.5,), (nan,)]
    more = [(1.5, (2,)), (1.5, (1,), "seen"), (1.5, (1,), "", 3)] if cls is Point else []
    seen = []
    for made in (ours, theirs):
        instances = [made(*each) for each in (*values, *more)]
        seen.append(
            (
                [[one == other for other in instances] for one in instances],
                [
                    hash(one) == hash(made(*each))
                    for one, each in zip(instances, values, strict=False)
                ],
                [repr(one).rpartition(".")[2] for one in instances],
                [each.name for each in dataclasses.fields(made)],
                instances[0] == 3,
                len(set(instances)),
            )
        )
    assert seen[0] == seen[1]
    assert ours(*values[0]) != theirs(*values[0]) or cls is Own, "another class is another value"


def test_it_is_a_dataclass_that_cannot_be_changed() -> None:
    made: Any = frozen(copy_of(Point))
    point = made(1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    assert dataclasses.replace(point, x=2.0) == made(2.0)
    assert dataclasses.asdict(point) == {"x": 1.0, "y": (1,), "note": "", "hidden": 0}


@pytest.mark.parametrize(
    ("args", "values"),
    [
        ((), {}),
        ((), {"x": 1.0, "z": 2}),
        ((1.0,), {"x": 2.0}),
        ((), {"x": 1.0, "y": (), "note": "", "hidden": 1, "z": 2}),
        ((), {"y": (), "note": "", "hidden": 1, "z": 2}),
        ((1.0, (), "", 3, 4), {}),
    ],
)
def test_values_that_do_not_fit_are_refused(args: tuple[Any, ...], values: dict[str, Any]) -> None:
    for made in (frozen(copy_of(Point)), dataclass(frozen=True)(copy_of(Point))):
        with pytest.raises(TypeError):
            made(*args, **values)


def test_what_is_left_out_is_made_anew() -> None:
    made: Any = frozen(copy_of(Made))
    assert made() == made(1, []) == made(several=[], x=1)
    assert made().several is not made().several


def test_a_class_made_of_another_has_its_names_first() -> None:
    base: Any = frozen(copy_of(Point))

    @frozen
    class Longer(base):  # type: ignore[misc]  # a class by a value
        z: int = 5

    assert Longer(1.0, z=6) == Longer(1.0, (1,), "", 0, 6) != Longer(1.0)
    longer: Any = Longer(1.0)
    assert dataclasses.replace(longer, x=2.0) == Longer(2.0)


def test_a_base_may_take_its_values_by_name_alone() -> None:
    @frozen(kw_only=True)
    class Base:
        x: int = 1

    @frozen
    class Longer(Base):
        z: int

    assert Longer(5, x=2) == Longer(z=5, x=2)
    made: Any = Base
    with pytest.raises(TypeError):
        made(1)
