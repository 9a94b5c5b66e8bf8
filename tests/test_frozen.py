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
    return type(cls.__name__, cls.__bases__, dict(cls.__dict__))


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
