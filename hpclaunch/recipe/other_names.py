"""Other names of columns that bear on training: data sets call the same thing differently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hpclaunch.recipe.tools import RowProblem

OTHER_NAMES = {
    "system_prompt": "system",
    "system_message": "system",
    "System": "system",
    "chat_history": "history",
    "functions": "tools",
}
"""What some data sets call a column, and the name that rows are read by."""

_NOTHING: tuple[Any, ...] = (None, "", [], {})


def known_name(column: str) -> str:
    """Return the name that a column is read by."""
    return OTHER_NAMES.get(column, column)


def with_other_names(columns: Iterable[str]) -> set[str]:
    """Return columns with all their other names."""
    known = set(columns)
    return known | {other for other, name in OTHER_NAMES.items() if name in known}


def by_known_names(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with its columns under the names that they are read by.

    Raises RowProblem where two columns that mean the same hold different values.
    """
    others = OTHER_NAMES.keys() & row.keys()
    if not others:
        return row
    renamed = {name: value for name, value in row.items() if name not in others}
    for other in sorted(others):
        name, value = OTHER_NAMES[other], row[other]
        before = renamed.get(name)
        if before in _NOTHING:
            renamed[name] = value
        elif value not in _NOTHING and value != before:
            raise RowProblem(f"has the columns '{name}' and '{other}', which differ: keep one")
    return renamed
