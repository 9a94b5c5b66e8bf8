"""Parts of splits: as the datasets library cuts them, or refused."""

from __future__ import annotations

import pytest

from hpclaunch.dataset.slices import parse_split
from hpclaunch.errors import UserError


@pytest.mark.parametrize(
    "text",
    [
        "train",
        "train[:10%]",
        "train[10%:]",
        "train[25%:75%]",
        "train[-10%:]",
        "train[:7]",
        "train[7:1_000]",
        "train[-7:]",
        "train[5:-5]",
        "train[:]",
        "train[:33%](pct1_dropremainder)",
    ],
)
def test_a_slice_takes_the_rows_that_the_library_takes(text: str) -> None:
    reader = pytest.importorskip("datasets.arrow_reader", reason="needs the training stack")
    (part,) = parse_split(text)
    for rows in (7, 100, 205, 1_234):
        if rows < 100 and "pct1" in text:
            continue
        (theirs,) = reader.ReadInstruction.from_spec(text).to_absolute({"train": rows})
        bounds = part.bounds(rows)
        assert (bounds.start, max(bounds.start, bounds.stop)) == (
            theirs.from_,
            max(theirs.from_, theirs.to),
        )


def test_several_parts_follow_each_other() -> None:
    first, second = parse_split("train[:2] + test")
    assert (first.split, first.whole, second.split, second.whole) == ("train", False, "test", True)


@pytest.mark.parametrize(
    "text", ["", "train[", "train[:10", "train[a:b]", "train[1]", "train+", "train[:200%]", "a b"]
)
def test_what_is_no_slice_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"'{text}'".replace("[", r"\[").replace("+", r"\+")):
        parse_split(text)


def test_percents_and_rows_are_not_mixed() -> None:
    with pytest.raises(UserError, match="mixes percents"):
        parse_split("train[10:20%]")
