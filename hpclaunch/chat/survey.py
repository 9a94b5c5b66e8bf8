"""Rows looked at before submission: does the chat template take them, and what is cut off?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpclaunch.chat.preference import WHOLE_ANSWER, answer_rows, has_answers, tokenize_answers
from hpclaunch.chat.rendering import Conversation, forgets_reasoning, learnt_spans, write
from hpclaunch.chat.tokenizer_files import TokenizerFiles
from hpclaunch.chat.tokens import LossOptions, Tokenizer, tokenize, tokenize_prompt
from hpclaunch.chat.truncation import (
    MAX_LENGTH,
    MAX_PROMPT_LENGTH,
    Truncation,
    nothing_left,
    truncation,
)
from hpclaunch.recipe.schema import Recipe
from hpclaunch.recipe.tools import RowProblem

WHOLE_PACKINGS = ("bfd_split", "wrapped")
"""Packing strategies that cut no sample off."""
RENDER_SECONDS = 4.0
"""Time for rendering rows of a form that was rendered before; new forms are always rendered."""
TOKENIZE_SECONDS = 3.0
"""Time for tokenizing a sample of the rows."""
SAMPLE = 1024
"""Rows that are tokenized, spread over all."""


@dataclass
class Survey:
    """What rows of a recipe's training data look like to its tokenizer."""

    recipe: Recipe
    files: TokenizerFiles | None
    """None where the tokenizer is not on this machine."""
    conversations: bool = False
    """Some row is a conversation."""
    forgets_reasoning: bool = False
    """The chat template leaves out what was thought before some earlier answer."""
    rows: int = 0
    """Training rows so far."""
    equal_pairs: int = 0
    """Of these, pairs whose two answers are the same."""
    labels: set[bool] = field(default_factory=set)
    """How their answers are labelled."""
    _forms: set[tuple[Any, ...]] = field(default_factory=set)
    _tokenizers: dict[bool, Tokenizer] = field(default_factory=dict)
    _spans: list[tuple[int, int, int]] = field(default_factory=list)
    _stride: int = 1
    _render_seconds: float = 0.0
    _tokenize_seconds: float = 0.0

    @property
    def has_template(self) -> bool:
        """Whether the model has a chat template, as far as that is known."""
        return self.files is None or self.files.template is not None

    def look(self, row: Mapping[str, Any], *, sample: bool) -> None:
        """Look at a converted row. Raises RowProblem where the model's template does not take it.

        `sample`: it is a training row, and counts for what max_length cuts off.
        """
        if "messages" in row or isinstance(row.get("prompt"), list):
            self.conversations = True
            if self.files is not None:
                for each in answer_rows(row) if has_answers(row) else (row,):
                    self._render(each, self.files)
        if sample:
            self._sample(row)
            self.equal_pairs += "chosen" in row and row["chosen"] == row["rejected"]
            if "label" in row:
                self.labels.add(row["label"])

    def lines(self) -> list[str]:
        """Return what the user should read of it."""
        lines = []
        if self.conversations and self.files is None:
            lines.append(
                f"data: the chat template of {self.recipe.model.name} is not on this machine; the "
                "job checks the conversations against it before it trains"
            )
        if self.forgets_reasoning:
            lines.append(
                "data: the chat template leaves out the reasoning of earlier answers, which are "
                "learnt without it; to learn it, end a row with each such answer"
            )
        if self.equal_pairs:
            lines.append(
                f"data: {self.equal_pairs:,} of {self.rows:,} pairs have the same chosen and "
                "rejected answer, of which nothing is learnt"
            )
        if len(self.labels) == 1:
            label = "true (good)" if True in self.labels else "false"
            lines.append(
                f"data: every answer has the label {label}: what is good and what is not is learnt "
                "from both kinds"
            )
        line = self._truncation().line(of=self.rows)
        return [*lines, f"data: {line}"] if line else lines

    def check_left(self) -> None:
        """Raise UserError where every row was tokenized, and none has anything to learn."""
        lost = self._truncation()
        if lost.nothing_left and lost.samples == self.rows:
            raise nothing_left(self.recipe.data.title, lost)

    def _truncation(self) -> Truncation:
        mode = self.recipe.training.get("truncation_mode", "keep_start")
        if self._packs and self.recipe.training.get("packing") is not False:
            mode = "keep_start"
        field = MAX_PROMPT_LENGTH if self._prompts else MAX_LENGTH
        return truncation(self._spans, self._max_length(), mode, field)

    def _max_length(self) -> int | None:
        training = self.recipe.training
        if self._prompts:
            return self.recipe.method.grpo.max_prompt_length
        packed = self._packs and training.get("packing") is not False
        strategy = training.get("packing_strategy")
        whole_texts = self.recipe.objective_spec.learns_every_token
        if packed and (strategy in WHOLE_PACKINGS or (whole_texts and strategy is None)):
            return None
        length = training.get("max_length")
        return length if isinstance(length, int) else None

    @property
    def _packs(self) -> bool:
        """Whether the objective's trainer can put several samples into a row."""
        return self.recipe.objective_spec.packs

    @property
    def _prompts(self) -> bool:
        """Whether rows are prompts, which the model answers itself."""
        return self.recipe.objective_spec.writes_completions

    def _options(self, row: Mapping[str, Any]) -> LossOptions:
        training = self.recipe.training
        if not self._packs:
            return WHOLE_ANSWER
        masked = bool(training.get("assistant_only_loss", "messages" in row))
        completion = training.get("completion_only_loss")
        return LossOptions(masked, "prompt" in row if completion is None else bool(completion))

    def _tokenizer(self, files: TokenizerFiles, assistant_only: bool) -> Tokenizer:
        if assistant_only not in self._tokenizers:
            try:
                made = files.tokenizer(assistant_only=assistant_only)
            except Exception as error:  # whatever jinja2 says of a template that is none
                reason = " ".join(str(error).split())[:200]
                raise RowProblem(
                    f"the model's chat template cannot be read: {reason}; name another by "
                    "training.chat_template_path"
                ) from None
            self._tokenizers[assistant_only] = made
        return self._tokenizers[assistant_only]

    def _render(self, row: Mapping[str, Any], files: TokenizerFiles) -> None:
        """Render a row, unless its form was rendered before and the time for such is over."""
        form = _form(row)
        if form in self._forms and self._render_seconds > RENDER_SECONDS:
            return
        options = self._options(row)
        tokenizer = self._tokenizer(files, options.assistant_only_loss)
        if tokenizer.render is None:
            raise RowProblem(
                "is a conversation, and the model's tokenizer has no chat template; use an "
                "Instruct model, or name one's template by training.chat_template_path"
            )
        began = time.monotonic()
        if self._prompts:
            tokenize_prompt(row, tokenizer, self._template_options)
        else:
            self._render_answer(row, tokenizer, files, options)
        self._render_seconds += time.monotonic() - began
        self._forms.add(form)

    @property
    def _template_options(self) -> Mapping[str, Any]:
        options = self.recipe.training.get("chat_template_kwargs")
        return options if isinstance(options, Mapping) else {}

    def _render_answer(
        self,
        row: Mapping[str, Any],
        tokenizer: Tokenizer,
        files: TokenizerFiles,
        options: LossOptions,
    ) -> None:
        render = tokenizer.render
        if render is None:
            return
        turns = row.get("messages") or [*row["prompt"], *row["completion"]]
        tools, template_options = row.get("tools"), row.get("chat_template_kwargs") or {}
        conversation = Conversation(turns, tools, template_options)
        if options.assistant_only_loss and files.knows_answers:
            text, _ = learnt_spans(render, conversation, tagged=tokenizer.tagged)
        else:
            text, _ = write(render, conversation)
        self.forgets_reasoning |= forgets_reasoning(text, turns)
        if "prompt" in row:
            write(render, conversation.part(row["prompt"]), prompt=True)

    def _sample(self, row: Mapping[str, Any]) -> None:
        """Tokenize every so many rows, fewer where there are many or they are long."""
        self.rows += 1
        if self.files is None or self._max_length() is None or (self.rows - 1) % self._stride:
            return
        options = self._options(row)
        tokenizer = self._tokenizer(self.files, options.assistant_only_loss)
        known = self.files.knows_answers or not options.assistant_only_loss
        if not (tokenizer.identity and known):
            return
        began = time.monotonic()
        if self._prompts:
            length = len(tokenize_prompt(row, tokenizer, self._template_options))
            self._spans.append((length - 1, length, length))
        elif has_answers(row):
            answers = tokenize_answers(row, tokenizer)
            self._spans.append(answers.span(whole=self.recipe.objective_spec.scores))
        else:
            tokens = tokenize(row, tokenizer, options)
            self._spans.append((*tokens.bounds, len(tokens.ids)))
        self._tokenize_seconds += time.monotonic() - began
        if len(self._spans) >= SAMPLE or self._tokenize_seconds > TOKENIZE_SECONDS:
            self._tokenize_seconds /= 2
            self._spans = self._spans[::2]
            self._stride *= 2


def _form(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a template's refusals depend on: roles, keys and calls, rather than words."""
    turns = row.get("messages") or [*row["prompt"], None, *row.get("completion", ())]
    return (
        bool(row.get("tools")),
        repr(row.get("chat_template_kwargs")),
        *(None if turn is None else _form_of_turn(turn) for turn in turns),
    )


def _form_of_turn(turn: Mapping[str, Any]) -> tuple[Any, ...]:
    content = str(turn.get("content", ""))
    if len(turn) == 2 and "<think>" not in content:
        return turn["role"], content.isspace() or not content
    calls = turn.get("tool_calls", ())
    return (
        turn["role"],
        bool(content.strip()),
        "<think>" in content,
        tuple(sorted(turn)),
        tuple(len(str(call.get("id", ""))) for call in calls),
        len(str(turn.get("tool_call_id", ""))),
    )
