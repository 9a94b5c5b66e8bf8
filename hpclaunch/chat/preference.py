"""Answers that are compared or labelled, as tokens behind those of their prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpclaunch.chat.tokens import LossOptions, Tokenizer, Tokens, tokenize
from hpclaunch.frozen import frozen

WHOLE_ANSWER = LossOptions(assistant_only_loss=False, completion_only_loss=True)
"""All of an answer counts, and nothing of its prompt."""


@frozen
class Answers:
    """Token ids of a prompt, and of one answer (that is labelled) or two (that are compared)."""

    prompt: list[int]
    answers: list[list[int]]

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longest answer."""
        return len(self.prompt) + max(map(len, self.answers))

    def span(self, *, whole: bool = False) -> tuple[int, int, int]:
        """Return first token that counts, end of the last, and length, as `truncation` takes them.

        `whole`: an answer counts only where all of it is there: its score stands at its end.
        """
        length = self.longest
        return (length - 1 if whole else len(self.prompt)), length, length


def answer_rows(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return a converted row as rows of prompt and completion, one for each of its answers."""
    names = [name for name in ("chosen", "rejected") if name in row] or ["completion"]
    rest = {key: row[key] for key in ("prompt", "tools", "chat_template_kwargs") if key in row}
    for name in names:
        yield {**rest, "completion": row[name]}


def tokenize_answers(row: Mapping[str, Any], tokenizer: Tokenizer) -> Answers:
    """Return the tokens of a converted row. Raises RowProblem where its template refuses it.

    The answers begin where the first of them does: a template may write the end of a prompt
    otherwise before each, and tokens may reach across it.
    """
    parts = [tokenize(each, tokenizer, WHOLE_ANSWER) for each in answer_rows(row)]
    begin = min(_common(parts), *(part.bounds[0] for part in parts), len(parts[0].ids))
    return Answers(parts[0].ids[:begin], [part.ids[begin:] for part in parts])


def _common(parts: list[Tokens]) -> int:
    """Return how many tokens all of these begin with."""
    first, last = parts[0].ids, parts[-1].ids
    pairs = zip(first, last, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))


def has_answers(row: Mapping[str, Any]) -> bool:
    """Return whether a converted row's answers are compared, or labelled good or bad."""
    return "chosen" in row or "label" in row
