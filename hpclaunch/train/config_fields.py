"""Write the fields of a TRL config and their types, so that recipes are checked without torch.

`python -m hpclaunch.train.config_fields sft` writes the `fields_file` of that objective in
`hpclaunch/recipe`; a test keeps it equal. `choices` writes the words that some fields take.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any, cast

from hpclaunch import recipe
from hpclaunch.recipe.objectives import OBJECTIVES, Objective
from hpclaunch.train.objectives import config_class

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


def fields(objective: Objective) -> dict[str, list[str]]:
    """Return every field of the objective's TRL config that YAML can express, with its types."""
    config = config_class(objective)
    hints = typing.get_type_hints(config)
    found = {field.name: kinds(hints[field.name]) for field in dataclasses.fields(config)}
    if "list" in found.get("loss_type", ()):
        found["loss_type"] = ["list", "str"]  # DPOConfig takes one loss as a text, too
    return {name: found[name] for name in sorted(found) if found[name]}


def choices() -> dict[str, list[str]]:
    """Return the words that fields of TRL's configs take whose type or declaration lists them.

    Not those of `loss_type`, which are each objective's own.
    """
    found: dict[str, list[str]] = {}
    for objective in OBJECTIVES:
        config = config_class(objective)
        hints = typing.get_type_hints(config)
        for field in dataclasses.fields(config):
            words = [str(each.value) for kind in _enums(hints[field.name]) for each in kind]
            words = words or list(field.metadata.get("choices") or ())
            if words and field.name != "loss_type":
                found[field.name] = sorted(words)
    return dict(sorted(found.items()))


def _enums(hint: Any) -> list[type[enum.Enum]]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType, list):
        return [each for part in typing.get_args(hint) for each in _enums(part)]
    return [hint] if isinstance(hint, type) and issubclass(hint, enum.Enum) else []


if __name__ == "__main__":
    if sys.argv[1] == "choices":
        written = json.dumps(choices(), indent=1) + "\n"
        Path(recipe.__file__).with_name("field_choices.json").write_text(written, "utf-8")
        sys.exit()
    objective = cast("Objective", sys.argv[1])
    rows = (f'  "{name}": {json.dumps(types)}' for name, types in fields(objective).items())
    file = Path(recipe.__file__).with_name(OBJECTIVES[objective].fields_file)
    file.write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")
