"""Read classes from the source: their fields with types, defaults and docstrings, as tables."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Field:
    """One field of a class: name, type, default and docstring, as they stand in the source."""

    name: str
    type: str
    default: str
    text: str


def classes(source: str) -> dict[str, ast.ClassDef]:
    """Return the classes of a module of this repository, by name."""
    tree = ast.parse((ROOT / source).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def about(node: ast.ClassDef) -> str:
    """Return a class's docstring, each paragraph in one line."""
    return "\n\n".join(map(one_line, (ast.get_docstring(node) or "").split("\n\n")))


def one_line(text: str) -> str:
    """Return a text with its line ends taken out, fit for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def fields(node: ast.ClassDef) -> list[Field]:
    """Return the annotated fields of a class, in the order of the source."""
    found = []
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        text = docstring(after)
        default = ast.unparse(item.value) if item.value is not None else "required"
        found.append(Field(item.target.id, ast.unparse(item.annotation), default, text))
    return found


def docstring(node: ast.stmt | None) -> str:
    """Return the text where a statement is one: the docstring of the field before it."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return one_line(str(node.value.value))
    return ""


ALIASES = {
    "MethodKind": "full, lora, qlora",
    "Objective": "sft",
    "Sharding": "full, hybrid, grad, none",
    "PositiveInt": "whole number, at least 1",
    "Count": "whole number, at least 0",
    "Name": "text",
    "Fraction": "number from 0 to below 1",
    "Need": "time, partition, account, qos",
    "Any": "any",
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
}
"""Types of the schemas, as a YAML author reads them."""


def plain_type(annotation: str) -> str:
    """Return a type as a YAML author reads it: choices spelled out, constraints left out."""
    return _plain(ast.parse(annotation, mode="eval").body)


def _plain(node: ast.expr) -> str:
    text = ast.unparse(node)
    match node:
        case ast.Name(id=name):
            text = ALIASES.get(name, name)
        case ast.BinOp(left=left, right=right):
            text = f"{_plain(left)} or {_plain(right)}"
        case ast.Constant(value=value):
            text = "none" if value is None else str(value)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            text = ", ".join(map(_plain, items))
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[first, *_])):
            text = _plain(first)
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            text = f"list of {_plain(inner)}"
        case ast.Subscript(value=ast.Name(id="dict")):
            text = "mapping"
    return text


def plain_default(field: Field) -> str:
    """Return a default as YAML has it; that of a section is the section's own."""
    value = field.default
    if value.endswith("()"):
        return "see below"
    words = {"None": "none", "True": "true", "False": "false", "''": "empty", "[]": "none"}
    words |= {"{}": "none", "()": "none", "required": "required"}
    return words.get(value) or f"`{value.strip(chr(39))}`"


def table(node: ast.ClassDef, sections: dict[str, ast.ClassDef] | None = None) -> str:
    """Return the table of a class's fields; a field that is a section has the section's text."""
    rows = []
    for f in fields(node):
        section = (sections or {}).get(f.type)
        kind, text = plain_type(f.type), f.text
        if section is not None:
            kind, text = "section", text or about(section).split("\n")[0]
        rows.append(f"| `{f.name}` | {kind} | {plain_default(f)} | {text} |")
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows])
