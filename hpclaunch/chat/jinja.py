"""Chat templates rendered as Transformers renders them, without importing it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hpclaunch.chat.reasoning import KEYS
from hpclaunch.chat.rendering import Text, Turns


class Generation(Extension):
    """The tag `generation` around what the assistant writes: notes where it stands in the text."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._blocks: list[str] | None = None
        self._spans: list[tuple[int, int]] = []

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the tag's content as a call of `_note`."""
        line = next(parser.stream).lineno
        content = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_note"), [], [], content).set_lineno(line)

    def _note(self, caller: Any) -> str:
        text = str(caller())
        if self._blocks is not None:
            start = sum(map(len, self._blocks))
            self._spans.append((start, start + len(text)))
        return text

    @contextmanager
    def noting(self, blocks: list[str]) -> Iterator[list[tuple[int, int]]]:
        """Note the spans of a text whose blocks are appended to `blocks` as they are made."""
        self._blocks, self._spans = blocks, []
        try:
            yield self._spans
        finally:
            self._blocks = None


class Ranges:
    """The `range` of templates, bounded over a conversation: loops within loops could go on."""

    LONGEST = 1_000_000

    def __init__(self) -> None:
        self.left = self.LONGEST

    def __call__(self, *bounds: int) -> range:
        """Return Python's `range`. Raises TemplateError where all of them come to too much."""
        made = range(*bounds)
        self.left -= len(made)
        if self.left < 0:
            raise TemplateError(f"its loops take more than {self.LONGEST:,} turns")
        return made


class JinjaTemplate:
    """A chat template, and the special tokens that it may write. A `Render`."""

    def __init__(self, source: str, special_tokens: Mapping[str, Any]) -> None:
        """Compile it. Raises jinja2's TemplateError where it cannot be."""
        self._template = _compiled(source)
        self._special = dict(special_tokens)

    def __call__(
        self, turns: Turns, tools: Turns | None, options: Mapping[str, Any], prompt: bool
    ) -> Text:
        """Return the text of a conversation and the spans in generation tags."""
        variables = {
            **self._special,
            **options,
            "messages": [_with_reasoning(turn) for turn in turns],
            "tools": tools,
            "documents": None,
            "add_generation_prompt": prompt,
        }
        blocks: list[str] = []
        environment: Any = self._template.environment
        environment.globals["range"].left = Ranges.LONGEST
        tag: Any = environment.extensions[Generation.identifier]
        with tag.noting(blocks) as spans:
            blocks.extend(self._template.generate(variables))
        return "".join(blocks), list(spans)


def _with_reasoning(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn with its reasoning under the names that templates read."""
    reasoning = next((turn[key] for key in KEYS if turn.get(key) is not None), None)
    if reasoning is None:
        return turn
    return {"thinking": reasoning, **turn, "reasoning_content": reasoning}


@lru_cache
def _compiled(source: str) -> Any:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(raise_exception=_refuse, strftime_now=_now, range=Ranges())
    return environment.from_string(source)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)  # local time, as Transformers takes it


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON without jinja2's own escapes for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
