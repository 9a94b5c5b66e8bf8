"""YAML without the surprises of its version 1.1, and without a way to take the program down."""

from __future__ import annotations

import re
from typing import Any

import yaml

TAG = "tag:yaml.org,2002:"
SCALARS = frozenset({"str", "int", "float", "bool", "null"})
MAX_DEPTH = 50
MAX_VALUES = 100_000
"""Beyond these a file is nobody's recipe."""

_EXPONENT = re.compile(r"^[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$", re.ASCII)
_NUMBERS = {
    "int": re.compile(r"^[-+]?(0b[01_]+|0x[\da-fA-F_]+|0[0-7_]*|[1-9][\d_]*)$", re.ASCII),
    "float": re.compile(
        r"^[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$"
        rf"|{_EXPONENT.pattern}|^[-+]?\.\d[\d_]*[eE][-+]?\d+$",
        re.ASCII,
    ),
}


_LOADER = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
_DUMPER = yaml.CSafeDumper if hasattr(yaml, "CSafeDumper") else yaml.SafeDumper


class Loader(_LOADER):  # type: ignore[misc, valid-type]  # one of two
    """Reads `1e-4` as a number, and `3:00:00`, `2026-01-31`, `no` and `on` as the words written.

    By YAML 1.1 they are a string, the number 10800, a date, false and true.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - the library's own name and type
        first: [pair for pair in pairs if pair[0] == f"{TAG}null"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Loader.add_implicit_resolver(
    f"{TAG}bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
for _name, _form in _NUMBERS.items():
    Loader.add_implicit_resolver(f"{TAG}{_name}", _form, list("-+.0123456789"))


class Dumper(_DUMPER):  # type: ignore[misc, valid-type]  # one of two
    """Quotes what either kind of reader would take for something else than a text."""


Dumper.add_implicit_resolver(f"{TAG}float", _EXPONENT, list("-+0123456789"))


def compose(text: str) -> yaml.Node | None:
    """Return a text's nodes, with their lines. Raises yaml.YAMLError or ValueError."""
    depth = 0
    # The library nests its own calls as deeply as the text, and beyond some depth that is fatal.
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
    node: yaml.Node | None = yaml.compose(text, Loader=Loader)
    return node


def scalar(node: yaml.Node) -> Any:
    """Return a plain value. Raises ValueError where a forced tag does not fit."""
    if node.tag == f"{TAG}str" and isinstance(node.value, str):
        return node.value  # as the library would, which takes a parser for each
    loader = Loader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, LookupError) as error:
        # LookupError: what the library lets through, as for `!!bool perhaps`
        raise ValueError(str(error)) from None
    finally:
        loader.dispose()
