"""A row as tokens with what the loss counts, and what is left of it within `max_length`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from itertools import accumulate
from typing import Any

from hpclaunch.chat.rendering import Conversation, Render, Span, learnt_spans, merged, write
from hpclaunch.frozen import frozen
from hpclaunch.recipe.tools import RowProblem

Encoded = tuple[Sequence[int], Sequence[Span]]
"""Token ids, and the characters that each stands for."""
Encode = Callable[[str, bool], Encoded]
"""Tokenizes a text; with the tokenizer's own special tokens (BOS) where True."""


@frozen
class Tokenizer:
    """What is needed of a tokenizer: its tokens, and its chat template."""

    encode: Encode
    bos: int | None = None
    """Id of the token that begins a text."""
    eos: str = ""
    """Text of the token that ends one; added to plain texts."""
    render: Render | None = None
    """The chat template to train with; None where there is none."""
    tagged: bool = False
    """The template marks what the assistant writes."""
    identity: str = ""
    """Changes with the tokenizer's tokens and its template."""


@frozen
class LossOptions:
    """Which tokens the loss counts: TRL's options of these names."""

    assistant_only_loss: bool = False
    completion_only_loss: bool = True
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template for a prompt that the model answers itself."""


@frozen
class Tokens:
    """A row's tokens, and which of them the loss counts."""

    ids: list[int]
    learnt: list[bool]

    @property
    def bounds(self) -> Span:
        """Return the place of the first token that is learnt, and that behind the last one."""
        if True not in self.learnt:
            return 0, 0
        return self.learnt.index(True), len(self.learnt) - self.learnt[::-1].index(True)


def tokenize(row: Mapping[str, Any], tokenizer: Tokenizer, options: LossOptions) -> Tokens:
    """Return the tokens of a converted row. Raises RowProblem where its template refuses it."""
    if "messages" in row:
        return _conversation(row, tokenizer, options)
    if isinstance(row.get("prompt"), list):
        return _pair_of_turns(row, tokenizer, options)
    if "prompt" in row:
        begin = len(row["prompt"]) if options.completion_only_loss else 0
        return _plain(_ended(row["prompt"] + row["completion"], tokenizer), begin, tokenizer)
    return _plain(_ended(row["text"], tokenizer), 0, tokenizer)


def tokenize_prompt(
    row: Mapping[str, Any], tokenizer: Tokenizer, template_options: Mapping[str, Any]
) -> list[int]:
    """Return the tokens of a converted row's prompt, up to where the model begins its answer.

    `template_options`: variables of the chat template, over which the row's own win. Raises
    RowProblem where the template refuses the prompt.
    """
    if isinstance(row["prompt"], list):
        options = {**template_options, **(row.get("chat_template_kwargs") or {})}
        conversation = Conversation(row["prompt"], row.get("tools") or None, options)
        text = write(_render_of(tokenizer), conversation, prompt=True)[0]
        return list(tokenizer.encode(text, False)[0])
    plain = list(tokenizer.encode(row["prompt"], False)[0])
    ids = list(tokenizer.encode(row["prompt"], True)[0])
    twice = tokenizer.bos is not None and ids[:2] == [tokenizer.bos] * 2
    end = len(ids)
    while end > len(plain) and ids[end - len(plain) : end] != plain:
        end -= 1  # a token that the tokenizer adds at the end: an answer is to follow
    return ids[twice : end if ids[end - len(plain) : end] == plain else None]


def _conversation(row: Mapping[str, Any], tokenizer: Tokenizer, options: LossOptions) -> Tokens:
    """Return the tokens of whole conversations, learnt whole or in the assistant's turns."""
    render = _render_of(tokenizer)
    conversation = _with_options(row["messages"], row)
    if not options.assistant_only_loss:
        if any("weight" in turn for turn in row["messages"]):
            raise RowProblem(
                "has messages of weight 0, and whole conversations are learnt; set "
                "training.assistant_only_loss: true"
            )
        ids, _ = tokenizer.encode(write(render, conversation)[0], False)
        return Tokens(list(ids), [True] * len(ids))
    text, spans = learnt_spans(render, conversation, tagged=tokenizer.tagged)
    ids, offsets = tokenizer.encode(text, False)
    learnt = _within(offsets, spans)
    if True not in learnt:
        raise RowProblem(
            "has no token to learn from: the chat template marks none; set "
            "training.assistant_only_loss: false, or use a template that marks answers"
        )
    return Tokens(list(ids), learnt)


def _pair_of_turns(row: Mapping[str, Any], tokenizer: Tokenizer, options: LossOptions) -> Tokens:
    """Return the tokens of a prompt and a completion that are lists of messages."""
    render = _render_of(tokenizer)
    prompt_part = _with_options(row["prompt"], row)
    whole = prompt_part.part([*row["prompt"], *row["completion"]])
    if options.assistant_only_loss:
        text, spans = learnt_spans(render, whole, tagged=tokenizer.tagged)
    else:
        text, spans = write(render, whole)[0], []
    ids, offsets = tokenizer.encode(text, False)
    learnt = _within(offsets, spans) if options.assistant_only_loss else [True] * len(ids)
    if options.completion_only_loss:
        before = write(render, prompt_part, prompt=True)[0]
        # A template may begin an answer otherwise than it writes one: from where they differ on.
        begin = len(before) if text.startswith(before) else _common(before, text)
        answer = _within(offsets, [(begin, len(text))])
        learnt = [one and other for one, other in zip(learnt, answer, strict=True)]
    return Tokens(list(ids), learnt)


def _render_of(tokenizer: Tokenizer) -> Render:
    if tokenizer.render is None:
        raise RowProblem(
            "is a conversation, and the model's tokenizer has no chat template; use an Instruct "
            "model, or name one's template by training.chat_template_path"
        )
    return tokenizer.render


def _with_options(turns: list[dict[str, Any]], row: Mapping[str, Any]) -> Conversation:
    return Conversation(turns, row.get("tools") or None, row.get("chat_template_kwargs") or {})


def _ended(text: str, tokenizer: Tokenizer) -> str:
    return text if text.endswith(tokenizer.eos) else text + tokenizer.eos


def _plain(text: str, begin: int, tokenizer: Tokenizer) -> Tokens:
    """Return the tokens of a text that is learnt from a character on.

    A text that begins with BOS itself gets no second one.
    """
    ids, offsets = tokenizer.encode(text, True)
    learnt = _within(offsets, [(begin, len(text))]) if begin else [True] * len(ids)
    if begin and ids[-1:] and not learnt[-1]:
        learnt[-1] = True  # an end that the tokenizer adds stands for no characters
    twice = tokenizer.bos is not None and list(ids[:2]) == [tokenizer.bos] * 2
    return Tokens(list(ids)[twice:], learnt[twice:])


def _common(first: str, second: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _within(offsets: Sequence[Span], spans: Sequence[Span]) -> list[bool]:
    """Return which tokens lie in one of the spans, with one character at least."""
    learnt = [False] * len(offsets)
    # Tokens that the tokenizer adds at the end stand for no characters, and have (0, 0).
    begins = list(accumulate((begin for begin, _ in offsets), max))
    ends = list(accumulate((end for _, end in offsets), max))
    for begin, end in merged(spans):
        first, behind = bisect_right(ends, begin), bisect_left(begins, end)
        learnt[first:behind] = [True] * (behind - first)
    return learnt
