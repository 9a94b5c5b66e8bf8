"""`training.learning_rate=1e-4,2e-4` on a command line: every combination of values. Pure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.recipe.load import split_override

MOST_RUNS = 1000
"""Number of runs that a sweep has at most: more are a mistake in the command."""

_PAIRS = {"[": "]", "{": "}", "(": ")"}
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._]+")
_LONGEST = 80
"""Number of characters of a run's name that the values may take."""


@frozen
class Parameter:
    """A key of the recipe and the values that it takes, as typed."""

    key: str
    values: tuple[str, ...]


@frozen
class Point:
    """One combination of values."""

    values: tuple[tuple[str, str], ...]
    """Key and value, as typed, of each parameter."""

    @property
    def overrides(self) -> tuple[str, ...]:
        """Return the `key=value` words that set them."""
        return tuple(f"{key}={value}" for key, value in self.values)


def split_values(text: str) -> tuple[str, ...]:
    """Split at the commas that stand in no brackets and no quotes.

    Raises UserError for an empty value, and for a bracket or quote that is not closed.
    """
    values, value, closing = [], "", ""
    for char in text:
        if closing[-1:] in {'"', "'"}:
            closing = closing[:-1] if char == closing[-1] else closing
        elif char in {'"', "'"} or char in _PAIRS:
            closing += _PAIRS.get(char, char)
        elif closing and char == closing[-1]:
            closing = closing[:-1]
        elif char == "," and not closing:
            values.append(value)
            value = ""
            continue
        value += char
    values.append(value)
    if closing:
        raise UserError(f"{text!r}: {closing[-1]} is missing", "close every bracket and quote")
    stripped = tuple(value.strip() for value in values)
    if len(stripped) > 1 and not all(stripped):
        raise UserError(f"{text!r}: there is an empty value", "write the values as 1e-4,2e-4")
    return stripped


def read_parameters(
    overrides: Sequence[str],
) -> tuple[tuple[str, ...], tuple[Parameter, ...]]:
    """Return the overrides that every run has, and the parameters that differ.

    Raises UserError where no key has several values, one is given twice, or a key has one value
    twice.
    """
    fixed, parameters = [], []
    seen: set[str] = set()
    for word in overrides:
        key, _ = split_override(word)
        if key in seen:
            raise UserError(f"{key} is given twice", f"write all of its values as {key}=A,B")
        seen.add(key)
        values = split_values(word.partition("=")[2])
        if len(values) == 1:
            fixed.append(word)
        else:
            _refuse_equal(key, values)
            parameters.append(Parameter(key, values))
    if not parameters:
        raise UserError(
            "a sweep needs a key with several values, as training.learning_rate=1e-4,2e-4",
            "one run is started by sbatch, srun or local",
        )
    count = math.prod(len(each.values) for each in parameters)
    if count > MOST_RUNS:
        sizes = " x ".join(str(len(each.values)) for each in parameters)
        raise UserError(
            f"{sizes} values are {count:,} runs, and a sweep has {MOST_RUNS:,} at most",
            "leave values out, or submit several sweeps",
        )
    return tuple(fixed), tuple(parameters)


def _refuse_equal(key: str, values: Sequence[str]) -> None:
    seen: dict[tuple[bool, Any], str] = {}
    for value in values:
        parsed = split_override(f"{key}={value}")[1]
        # 1e-4 and 0.0001 are one number; true is not 1.
        number = isinstance(parsed, int | float) and not isinstance(parsed, bool)
        same = (number, float(parsed) if number else repr(parsed))
        if same in seen:
            raise UserError(f"{key}: {seen[same]} and {value} are the same", "leave one out")
        seen[same] = value


def points(parameters: Sequence[Parameter]) -> tuple[Point, ...]:
    """Return every combination, the last parameter changing fastest."""
    keys = [each.key for each in parameters]
    combinations = itertools.product(*(each.values for each in parameters))
    return tuple(Point(tuple(zip(keys, values, strict=True))) for values in combinations)


def run_names(sweep: str, parameters: Sequence[Parameter]) -> tuple[str, ...]:
    """Return a name for the run of each point, from its values, each once.

    `tiny-sweep-1.learning_rate-1e-4.r-8`; a number in its place where that is too long or not
    unique.
    """
    short = short_keys([each.key for each in parameters])
    made = []
    for point in points(parameters):
        words = [f"{short[key]}-{value}" for key, value in point.values]
        made.append(".".join(_NOT_IN_A_NAME.sub("-", word).strip("-.") for word in words))
    room = 100 - len(sweep) - 1
    width = len(str(len(made) - 1))
    return tuple(
        f"{sweep}.{text}"
        if made.count(text) == 1 and len(text) <= min(_LONGEST, room)
        else f"{sweep}.{number:0{width}}"
        for number, text in enumerate(made)
    )


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return for each key as much of its end as tells it from the others: `learning_rate`."""
    short = {}
    for key in keys:
        parts = key.split(".")
        for take in range(1, len(parts) + 1):
            end = ".".join(parts[-take:])
            if sum(other == end or other.endswith(f".{end}") for other in keys) == 1:
                break
        short[key] = end
    return short
