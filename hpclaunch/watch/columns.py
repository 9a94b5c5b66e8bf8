"""Tables of the screen: columns that are declared once, with their heads, fitted to a width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from rich.text import Text

from hpclaunch.frozen import frozen
from hpclaunch.watch.sparkline import Glyphs

T = TypeVar("T")

MOST_CURVE = 60
"""Characters of the longest curve."""


@frozen
class Column(Generic[T]):
    """One column of a table. To add one is to declare it in the table's tuple, and no more."""

    head: str
    """Text above it, with the unit; cut to `width`."""
    width: int | Callable[[Sequence[T]], int]
    """Characters of it, which may depend on the rows; the fewest of a curve."""
    cell: Callable[[T, int, Glyphs], Text]
    """Returns the text of a row, at most as wide as its second argument."""
    rank: int = 0
    """Columns of the highest rank are left out first where the width is short; 0: never."""
    curve: bool = False
    """Takes its share of the width that is left."""
    left: bool = False
    """Text, aligned to the left; numbers are to the right."""
    known: Callable[[T], bool] | None = None
    """Shown only where one of the rows has it; None: always."""
    value: Callable[[T], float | None] | None = None
    """What rows are sorted by in this column; None: they cannot be."""
    lowest_first: bool = False
    """How they are sorted at first."""


@frozen
class Fitted(Generic[T]):
    """The columns that there is room for, and how wide each is."""

    columns: tuple[Column[T], ...]
    widths: tuple[int, ...]
    width: int
    """Characters of a whole row."""

    def heads(self, style: str, sorted_by: str = "") -> Text:
        """Return the row of heads; that of the column which rows are sorted by is bold."""
        row = Text()
        for column, width in zip(self.columns, self.widths, strict=True):
            head = Text(column.head[:width], style="bold" if column.head == sorted_by else style)
            row.append_text(_aligned(head, width, column.left or column.curve)).append(" ")
        return filled(row, self.width)

    def row(self, item: T, glyphs: Glyphs) -> Text:
        """Return the row of one item."""
        row = Text()
        for column, width in zip(self.columns, self.widths, strict=True):
            cell = column.cell(item, width, glyphs)
            row.append_text(_aligned(cell, width, column.left or column.curve)).append(" ")
        return filled(row, self.width)


def present(columns: Sequence[Column[T]], rows: Sequence[T]) -> tuple[Column[T], ...]:
    """Return the columns that one of the rows has, so that `fit` need not ask the rows again."""
    return tuple(replace(each, known=None) for each in _known(columns, rows))


def least_width(columns: Sequence[Column[T]], rows: Sequence[T]) -> int:
    """Return the characters that a row takes at least."""
    shown = [column for column in _known(columns, rows) if column.rank == 0]
    return _total([_width(column, rows) for column in shown])


def fit(columns: Sequence[Column[T]], rows: Sequence[T], width: int) -> Fitted[T]:
    """Return the columns for rows of `width` characters: those that are known, by their rank."""
    shown = [(column, _width(column, rows)) for column in _known(columns, rows)]
    while _total([least for _, least in shown]) > width and any(c.rank for c, _ in shown):
        # Of one rank the last is left out first.
        shown.remove(max(reversed(shown), key=lambda pair: pair[0].rank))
    spare = max(0, width - _total([least for _, least in shown]))
    curves = sum(column.curve for column, _ in shown)
    widths = []
    for column, least in shown:
        more = max(0, min(spare // curves, MOST_CURVE - least)) if column.curve else 0
        spare, curves = spare - more, curves - column.curve
        widths.append(least + more)
    return Fitted(tuple(column for column, _ in shown), tuple(widths), width)


def filled(text: Text, width: int) -> Text:
    """Return a text cut or padded to so many characters."""
    text.truncate(width, overflow="crop", pad=True)
    return text


def _known(columns: Sequence[Column[T]], rows: Sequence[T]) -> list[Column[T]]:
    return [each for each in columns if each.known is None or any(map(each.known, rows))]


def _width(column: Column[T], rows: Sequence[T]) -> int:
    return column.width if isinstance(column.width, int) else column.width(rows)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + max(0, len(widths) - 1)


def _aligned(cell: Text, width: int, left: bool) -> Text:
    missing = width - cell.cell_len
    if missing > 0 and not left:
        cell.pad_left(missing)
    return filled(cell, width)
