"""Two classes of the monitors never have one name: a reader finds what was meant."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import monitors


def test_each_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in Path(next(iter(monitors.__path__))).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(f"{path.name}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
    assert len(places) > 50
