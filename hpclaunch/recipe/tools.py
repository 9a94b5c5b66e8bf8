"""Tools and tool calls of a row, in the one form that chat templates are written for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class RowProblem(Exception):
    """What is wrong with a row, in words that follow its place."""


def tools_of(value: Any, *, columnar: bool = False) -> list[dict[str, Any]]:
    """Return a row's column `tools` as a list of `{"type": "function", "function": {...}}`.

    It may be a list, or JSON of one. `columnar`: see `turns_of`. Raises RowProblem.
    """
    found = _parsed(value, "'tools'")
    if isinstance(found, Mapping):
        found = [found]
    if found is None or found == "":
        return []
    if not isinstance(found, list | tuple):
        raise RowProblem("'tools' must be a list of tools, each with a name")
    return [_tool(each, columnar) for each in found]


def _tool(value: Any, columnar: bool) -> dict[str, Any]:
    tool = _parsed(value, "'tools'")
    if not isinstance(tool, Mapping):
        raise RowProblem("'tools' must be a list of tools, each with a name")
    tool = without_nulls(tool) if columnar else dict(tool)
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowProblem("'tools' has a tool without a name")
    if "function" in tool:
        return {"type": "function", **tool}
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


def calls_of(value: Any, columnar: bool) -> list[dict[str, Any]]:
    """Return a message's calls, each with its arguments as a mapping. Raises RowProblem."""
    found = _parsed(value, "has tool_calls that")
    if isinstance(found, Mapping):
        found = [found]
    if found is None or found == "":
        return []
    if not isinstance(found, list | tuple):
        raise RowProblem("has tool_calls that are no list")
    return [call_of(each, columnar) for each in found]


def call_of(value: Any, columnar: bool) -> dict[str, Any]:
    """Return one call as `{"type": "function", "function": {"name", "arguments"}}`.

    OpenAI writes the arguments as JSON in a text; templates take them as a mapping, and write a
    text once more in quotes. Raises RowProblem.
    """
    call = _parsed(value, "has a tool call that")
    if not isinstance(call, Mapping):
        raise RowProblem("has a tool call without a function")
    function = call.get("function")
    function = call if function is None else function
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowProblem("has a tool call without the function's name")
    arguments = function.get("arguments", function.get("parameters"))
    arguments = {} if arguments is None or arguments == "" else arguments
    arguments = _parsed(arguments, f"calls {function['name']} with arguments that")
    if not isinstance(arguments, Mapping):
        raise RowProblem(f"calls {function['name']} with arguments that are no mapping")
    arguments = without_nulls(arguments) if columnar else dict(arguments)
    outer = {} if function is call else {k: v for k, v in call.items() if v is not None}
    if function is call and call.get("id") is not None:
        outer["id"] = call["id"]
    named = {"name": function["name"], "arguments": arguments}
    return {**outer, "type": "function", "function": named}


def without_nulls(value: Any) -> Any:
    """Return a value without the keys of mappings that are null: columns fill them in."""
    if isinstance(value, Mapping):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(each) for each in value]
    return value


def _parsed(value: Any, what: str) -> Any:
    """Return what a text holds as JSON, any other value as it is. Raises RowProblem."""
    if not isinstance(value, str) or not value.strip():
        return value.strip() if isinstance(value, str) else value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise RowProblem(f"{what} cannot be read as JSON") from None
