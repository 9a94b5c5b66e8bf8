"""Write the list of SFTConfig fields and their types, so that recipes are checked without torch.

`python -m hpclaunch.train.sft_fields > hpclaunch/recipe/sft_fields.json`; a test keeps it equal.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from typing import Any

PLAIN = {bool: "bool", int: "int", float: "float", str: "str", dict: "dict", list: "list"}


def kinds(hint: Any) -> list[str]:
    """The YAML types a field's annotation admits: bool, int, float, str, list, dict, null."""
    if hint is type(None):
        return ["null"]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return sorted({kind for part in typing.get_args(hint) for kind in kinds(part)})
    if origin is typing.Literal:
        return sorted({PLAIN[type(value)] for value in typing.get_args(hint)})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return ["str"]
    base = origin or hint
    return [PLAIN[base]] if base in PLAIN else []


def fields() -> dict[str, list[str]]:
    """Return every SFTConfig field that YAML can express, with the types it takes."""
    from trl import SFTConfig

    hints = typing.get_type_hints(SFTConfig)
    found = {field.name: kinds(hints[field.name]) for field in dataclasses.fields(SFTConfig)}
    return {name: found[name] for name in sorted(found) if found[name]}


if __name__ == "__main__":
    rows = (f'  "{name}": {json.dumps(types)}' for name, types in fields().items())
    print("{\n" + ",\n".join(rows) + "\n}")
