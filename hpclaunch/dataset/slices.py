"""Parts of splits, written as the `datasets` library writes them: `train[:10%]+test[5:]`."""

from __future__ import annotations

import re

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen

_PART = re.compile(
    r"(?P<split>\w+(?:\.\w+)*)"
    r"(?:\[(?:(?P<start>-?[\d_]+)(?P<start_pct>%)?)?:(?:(?P<stop>-?[\d_]+)(?P<stop_pct>%)?)?\])?"
    r"(?:\((?P<rounding>closest|pct1_dropremainder)\))?"
)


@frozen
class Slice:
    """A split, or the rows of it between two bounds."""

    split: str
    start: int | None = None
    stop: int | None = None
    percent: bool = False
    whole_percents: bool = False
    """Percents are multiples of 1% of the rows, and the remainder is dropped."""

    @property
    def whole(self) -> bool:
        """Whether it is the whole split."""
        return self.start is None and self.stop is None

    def bounds(self, rows: int) -> range:
        """Return the numbers of its rows, in a split of so many rows."""
        start = 0 if self.start is None else self._number(self.start, rows)
        stop = rows if self.stop is None else self._number(self.stop, rows)
        return range(_within(start, rows), _within(stop, rows))

    def _number(self, bound: int, rows: int) -> int:
        if not self.percent:
            return bound
        return bound * int(rows / 100) if self.whole_percents else round(bound * rows / 100)


def _within(number: int, rows: int) -> int:
    """Return a row's number, counted from the end where it is negative, within the split."""
    return min(max(rows + number, 0) if number < 0 else number, rows)


def parse_split(text: str) -> tuple[Slice, ...]:
    """Return the parts that `data.split` names. Raises UserError where it is none."""
    return tuple(_part(part.strip(), text) for part in text.split("+"))


def _part(part: str, text: str) -> Slice:
    match = _PART.fullmatch(part)
    if match is None:
        raise UserError(
            f"'{text}' names no split",
            "write train, train[:1000], train[10%:20%] or train+validation",
        )
    start, stop = match["start"], match["stop"]
    percents = [bool(match[f"{name}_pct"]) for name in ("start", "stop") if match[name]]
    if len(set(percents)) > 1 and "0" not in (start, stop):
        raise UserError(f"'{text}' mixes percents and numbers of rows", "write both bounds alike")
    percent = any(percents)
    if percent and any(abs(int(bound)) > 100 for bound in (start, stop) if bound):
        raise UserError(f"'{text}' goes beyond 100%", "write percents from -100 to 100")
    return Slice(
        match["split"],
        None if start is None else int(start),
        None if stop is None else int(stop),
        percent,
        match["rounding"] == "pct1_dropremainder",
    )
