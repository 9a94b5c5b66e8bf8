"""Chat templates: which one training uses, so that the loss counts the assistant's turns alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.shipped import shipped
from hpclaunch.train.data import Rows

SAMPLES_TO_CHECK = 8
"""How many samples are written out before anything is trained."""

GENERATION_TAGS = ("{% generation", "{%- generation")
SYSTEM_TURN = "<|start_header_id|>system<|end_header_id|>\n\n"
PROBE = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]


def has_generation_tags(template: str | None) -> bool:
    """Return whether a template has generation tags around what the assistant writes."""
    return template is not None and any(tag in template for tag in GENERATION_TAGS)


def is_llama3(template: str | None) -> bool:
    """Return whether a template writes the turns of the Llama 3 family (3, 3.1, 3.2, 3.3)."""
    return template is not None and "<|start_header_id|>" in template and "<|eot_id|>" in template


def llama3_variant(tokenizer: Any) -> str:
    """Return a template that writes the same text as the tokenizer's own, with generation marks.

    From 3.1 on the family puts a system turn first in any case, with a date; what stands there is
    taken from the tokenizer's own template rather than from memory of one version.
    """
    rendered = tokenizer.apply_chat_template(PROBE[:1], tokenize=False)
    preamble = None
    if SYSTEM_TURN in rendered:
        preamble = rendered.split(SYSTEM_TURN, 1)[1].split("<|eot_id|>", 1)[0]
    text = shipped("train", "templates", "llama3.j2").read_text("utf-8")
    return text.replace("= PREAMBLE", f"= {'none' if preamble is None else json.dumps(preamble)}")


def training_template(tokenizer: Any, samples: Sequence[list[dict[str, Any]]]) -> str | None:
    """The template to train with under assistant_only_loss, None to keep the tokenizer's own.

    `samples` are conversations that both templates must write alike. Raises UserError where no
    template with generation marks exists, where ours differs, or where the loss mask is empty.
    """
    own = tokenizer.chat_template
    template = None
    if not has_generation_tags(own):
        template = llama3_variant(tokenizer) if is_llama3(own) else _from_trl(tokenizer)
    for messages in samples:
        if template is not None:
            _same_text(tokenizer, template, messages)
        if not any(loss_mask(tokenizer, messages, template)):
            raise UserError(
                "assistant_only_loss leaves no token to learn from: the chat template marks none",
                "set training.assistant_only_loss: false, or use a template with generation marks",
            )
    return template


def masks_assistant(arguments: Any, rows: Rows) -> bool:
    """Return whether the loss counts the assistant's turns alone. `arguments`: TRL's config."""
    return rows.messages and bool(getattr(arguments, "assistant_only_loss", False))


def has_chat_template(tokenizer: Any, training: dict[str, Any]) -> bool:
    """Return whether conversations can be written out. `training`: the recipe's section."""
    return bool(tokenizer.chat_template or training.get("chat_template_path"))


@contextlib.contextmanager
def chat_template(tokenizer: Any, template: str | None) -> Iterator[None]:
    """Let a tokenizer use another chat template meanwhile, None: its own. It is saved with that."""
    own = tokenizer.chat_template
    if template is not None:
        tokenizer.chat_template = template
    yield
    if template is not None:
        tokenizer.chat_template = own


def training_template_of(tokenizer: Any, rows: Rows) -> str | None:
    """Return the template to train these conversations with; None to keep the tokenizer's own.

    Raises UserError, as `training_template` does for the first of them.
    """
    few = rows.train.select(range(min(SAMPLES_TO_CHECK, len(rows.train))))
    return training_template(tokenizer, [row["messages"] for row in few])


def check_samples(tokenizer: Any, rows: Rows, arguments: Any) -> None:
    """Tokenize the first samples as training will, and check that the loss counts some of it.

    `arguments` is the SFTConfig. Raises UserError where the template marks nothing, or where none
    of the samples has anything to learn from before it is cut at max_length tokens.
    """
    masked = masks_assistant(arguments, rows)
    variant = training_template_of(tokenizer, rows) if masked else None
    few = rows.train.select(range(min(SAMPLES_TO_CHECK, len(rows.train))))
    limit = arguments.max_length
    if limit is None or arguments.packing or arguments.truncation_mode != "keep_start":
        return
    if masked:
        starts = [loss_mask(tokenizer, row["messages"], variant).index(1) for row in few]
    elif "prompt" in few.column_names:
        starts = [_prompt_length(tokenizer, row["prompt"]) for row in few]
    else:
        return
    if min(starts) >= limit:
        raise UserError(
            f"within training.max_length {limit} the first samples have no token to learn from: "
            f"what is learnt begins at token {min(starts)} or later",
            "raise training.max_length",
        )


def _prompt_length(tokenizer: Any, prompt: Any) -> int:
    if isinstance(prompt, str):
        return len(tokenizer(prompt)["input_ids"])
    encoded = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
    return len(encoded["input_ids"])


def loss_mask(
    tokenizer: Any, messages: list[dict[str, Any]], template: str | None = None
) -> list[int]:
    """Return 1 for each token the loss counts and 0 for the others."""
    encoded = tokenizer.apply_chat_template(
        messages,
        chat_template=template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return list(encoded["assistant_masks"])


def _from_trl(tokenizer: Any) -> str | None:
    """Ask TRL for its training variant of other families' templates."""
    from trl.chat_template_utils import get_training_chat_template

    try:
        template: str | None = get_training_chat_template(tokenizer)
    except ValueError as error:
        raise UserError(
            "assistant_only_loss: this model's chat template has no generation marks, and no "
            "training variant of it is known",
            "set training.assistant_only_loss: false",
        ) from error
    return template


def _same_text(tokenizer: Any, template: str, messages: list[dict[str, Any]]) -> None:
    own = tokenizer.apply_chat_template(messages, tokenize=False)
    ours = tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template)
    if own != ours:
        raise UserError(
            "assistant_only_loss: the training variant of the chat template writes another text "
            "than the model's own",
            "set training.assistant_only_loss: false",
        )
