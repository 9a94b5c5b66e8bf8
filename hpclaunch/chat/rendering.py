"""A conversation as the text that a chat template writes, and which of it is learnt."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from hpclaunch.chat.reasoning import KEYS, is_doubled, reasonings
from hpclaunch.frozen import frozen
from hpclaunch.recipe.tools import RowProblem

Turns = list[dict[str, Any]]
Span = tuple[int, int]
Text = tuple[str, list[Span]]
"""A text, and where the assistant's words stand in it, as far as the template marks them."""
Render = Callable[[Turns, Turns | None, Mapping[str, Any], bool], Text]
"""Renders turns with tools and the template's options; the last argument is
`add_generation_prompt`."""

ALONE = "set training.assistant_only_loss: false to learn whole conversations"


@frozen
class Conversation:
    """The turns of a row, and what else its template gets."""

    turns: Turns
    tools: Turns | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def part(self, turns: Turns) -> Conversation:
        """Return it with other turns."""
        return replace(self, turns=turns)


def write(render: Render, conversation: Conversation, *, prompt: bool = False) -> Text:
    """Return the text that the template writes. Raises RowProblem where it refuses or omits some.

    `prompt`: with the beginning of an answer.
    """
    turns = [{k: v for k, v in turn.items() if k != "weight"} for turn in conversation.turns]
    if not prompt:
        text, spans = _render(render, turns, conversation, prompt)
        _check_all_written(text, turns, render, conversation)
        return text, spans
    return _render(render, turns, conversation, prompt)


def _render(render: Render, turns: Turns, conversation: Conversation, prompt: bool) -> Text:
    try:
        return render(turns, conversation.tools, conversation.options, prompt)
    except Exception as error:  # whatever a template's code raises
        for other in _other_forms(turns):
            with contextlib.suppress(Exception):
                return render(other, conversation.tools, conversation.options, prompt)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        fix = _fix(reason, turns)
        raise RowProblem(f"the model's chat template refuses it: {reason}; {fix}") from None


def _other_forms(turns: Turns) -> Iterator[Turns]:
    """Return the forms that some templates need of turns with tool calls.

    An empty text beside the calls; and the arguments as JSON in a text (DeepSeek).
    """
    if any("tool_calls" in turn for turn in turns):
        with_text = [{"content": "", **turn} for turn in turns]
        yield with_text
        yield [_with_text_arguments(turn) for turn in with_text]


def _with_text_arguments(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn whose calls have their arguments as JSON in a text."""
    calls = []
    for call in turn.get("tool_calls", ()):
        function = call["function"]
        text = json.dumps(function["arguments"], ensure_ascii=False)
        calls.append({**call, "function": {**function, "arguments": text}})
    return {**turn, "tool_calls": calls} if calls else turn


def _fix(reason: str, turns: Turns) -> str:
    """Return what makes a row that its template takes."""
    roles = [turn["role"] for turn in turns]
    message = reason.lower()
    other = "or name another template by training.chat_template_path"
    if "system" in roles[1:] or ("system" in roles and "system" in message):
        return _fix_of_system(roles, other)
    if "single tool" in message or "one tool" in message:
        return f"write each call as a message of its own, with what the tool gave back, {other}"
    if "tool" in message or "tool" in roles or any("tool_calls" in turn for turn in turns):
        return f"take a model whose template knows tools, {other}"
    if "alternate" in message or "must be" in message:
        if roles[0] == "system":
            return _fix_of_system(roles, other)
        return f"begin with the user, and join turns of one role that follow each other, {other}"
    return f"change the row, {other}"


def _fix_of_system(roles: Sequence[str], other: str) -> str:
    if "system" in roles[1:]:
        late = roles.index("system", 1) + 1
        return f"put the system text of message {late} into a turn of the user, {other}"
    return f"put the system text into the first turn of the user, {other}"


def _check_all_written(text: str, turns: Turns, render: Render, conversation: Conversation) -> None:
    """Raise RowProblem where the template leaves out what the model should have seen or said."""
    plain = json.dumps(text, ensure_ascii=False)  # a template may write a text as JSON, too
    for number, turn in enumerate(turns, 1):
        content = str(turn.get("content") or "").strip()
        if turn["role"] in ("system", "tool") and content and not _within(content, text, plain):
            raise RowProblem(_omits(f"message {number}, of the role {turn['role']}"))
        beside = content.rpartition("</think>")[2].strip() if "tool_calls" in turn else ""
        if beside and not _within(beside, text, plain):
            raise RowProblem(_omits(f"the text beside the tool call of message {number}"))
    for number, reasoning, earlier in reasonings(turns):
        if _within(reasoning, text, plain):
            continue
        # What was thought before the user's last turn, some templates leave out on purpose.
        shown = _render(render, turns[:number], conversation, False)[0] if earlier else ""
        if not _within(reasoning, shown, json.dumps(shown, ensure_ascii=False)):
            raise RowProblem(_omits(f"the reasoning of message {number}"))
    if is_doubled(text, turns):
        raise RowProblem(
            "has reasoning within its answers, before which the model's chat template writes an "
            f"empty one; put it beside the content, as {KEYS[0]!r}"
        )
    if any("tool_calls" in turn for turn in turns):
        _check_calls_written(turns, render, conversation)
    if (
        conversation.tools
        and _render(render, turns, replace(conversation, tools=None), False)[0] == text
    ):
        raise RowProblem(_omits("the column 'tools'"))


def _check_calls_written(turns: Turns, render: Render, conversation: Conversation) -> None:
    """Raise RowProblem where a call is left out: its name may stand elsewhere in the text."""
    renamed = [
        {**turn, "tool_calls": [_renamed(call, f"{n}_") for call in turn["tool_calls"]]}
        if "tool_calls" in turn
        else turn
        for n, turn in enumerate(turns, 1)
    ]
    text = _render(render, renamed, conversation, False)[0]
    for number, turn in enumerate(renamed, 1):
        for call in turn.get("tool_calls", ()):
            if call["function"]["name"] not in text:
                raise RowProblem(_omits(f"the tool call of message {number}"))


def _renamed(call: dict[str, Any], ending: str) -> dict[str, Any]:
    """Return a call of a function by a name that stands nowhere else."""
    function = call["function"]
    return {**call, "function": {**function, "name": f"{function['name']}_probe_{ending}"}}


def forgets_reasoning(text: str, turns: Turns) -> bool:
    """Return whether a written text lacks what was thought before an earlier answer."""
    plain = json.dumps(text, ensure_ascii=False)
    return any(not _within(reasoning, text, plain) for _, reasoning, _ in reasonings(turns))


def _omits(what: str) -> str:
    return (
        f"the model's chat template leaves out {what}; take a model whose template writes it, or "
        "name another template by training.chat_template_path"
    )


def _within(content: str, text: str, plain: str) -> bool:
    """Return whether a content stands in a text, as it is or as JSON."""
    if content in text:
        return True
    first = content.splitlines()[0].strip()
    written = json.dumps(content, ensure_ascii=False)[1:-1]
    return written in text or written in plain or (len(first) < len(content) and first in text)


def learnt_spans(
    render: Render, conversation: Conversation, *, tagged: bool
) -> tuple[str, list[Span]]:
    """Return the text, and the spans of it that the assistant writes and that have weight.

    `tagged`: the template marks them. One that does not is asked for the text before and after
    each answer. Raises RowProblem where these are no parts of the whole.
    """
    text, marked = write(render, conversation)
    turns = conversation.turns
    answers = [n for n, turn in enumerate(turns) if turn["role"] == "assistant"]
    weightless = {n for n in answers if turns[n].get("weight") == 0}
    if tagged and not weightless:
        return text, marked
    if tagged and len(marked) == len(answers):
        pairs = zip(answers, marked, strict=True)
        return text, [span for number, span in pairs if number not in weightless]
    return text, [
        _span_of(render, conversation, number, text)
        for number in answers
        if number not in weightless
    ]


def _span_of(render: Render, conversation: Conversation, number: int, text: str) -> Span:
    """Return where an answer stands in the text of its whole conversation."""
    turns = conversation.turns
    if number == 0:
        before = _first_header(render, conversation, text)
    else:
        before = write(render, conversation.part(turns[:number]), prompt=True)[0]
    last = number == len(turns) - 1
    after = text if last else _render_part(render, conversation, turns[: number + 1])
    if not text.startswith(before) or not text.startswith(after) or len(after) <= len(before):
        raise RowProblem(
            "the model's chat template writes earlier turns otherwise once others follow, so the "
            f"answers cannot be told apart; {ALONE}"
        )
    words = str(turns[number].get("content", "")).rstrip()
    end = len(after.rstrip())
    if text[len(before) : end].endswith(words) and words:
        end = len(after)  # the white space is all that ends the turn
    return len(before), end


def _first_header(render: Render, conversation: Conversation, text: str) -> str:
    """Return what stands before the words of an assistant that begins the conversation."""
    user = conversation.part([{"role": "user", "content": "question"}])
    plain, begun = (_render(render, user.turns, user, prompt)[0] for prompt in (False, True))
    header = begun.removeprefix(plain)
    words = str(conversation.turns[0].get("content", "")).strip()[:32]
    begin = text.find(header) + len(header) if header in text else 0
    if not begun.startswith(plain) or not header or not text.startswith(words, begin) or not words:
        raise RowProblem(
            "begins with the assistant, and the model's chat template does not mark where its "
            f"words begin; begin with the user, or {ALONE}"
        )
    return text[:begin]


def _render_part(render: Render, conversation: Conversation, turns: Turns) -> str:
    clean = [{k: v for k, v in turn.items() if k != "weight"} for turn in turns]
    return _render(render, clean, conversation, False)[0]


def merged(spans: Sequence[Span]) -> list[Span]:
    """Return spans in order, without those that are empty."""
    return sorted(span for span in spans if span[1] > span[0])
