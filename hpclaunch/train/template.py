"""Chat templates: which one training uses, so that the loss counts the assistant's turns alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpclaunch.chat.rendering import Text, Turns
from hpclaunch.chat.tokenizer_files import GENERATION
from hpclaunch.chat.tokens import Encoded, Tokenizer
from hpclaunch.errors import UserError
from hpclaunch.train.hub import explain


def has_generation_tags(template: str | None) -> bool:
    """Return whether a template has generation tags around what the assistant writes."""
    return template is not None and GENERATION.search(template) is not None


def has_chat_template(tokenizer: Any, training: dict[str, Any]) -> bool:
    """Return whether conversations can be written out. `training`: the recipe's section."""
    return bool(tokenizer.chat_template or training.get("chat_template_path"))


def comes_from_model(training: Mapping[str, Any]) -> bool:
    """Return whether `chat_template_path` names a model rather than a file."""
    path = training.get("chat_template_path") or ""
    return bool(path) and not Path(path).is_file()


def use_chat_template(tokenizer: Any, training: Mapping[str, Any]) -> list[str]:
    """Give a tokenizer the chat template and the end token that the `training` section names.

    Returns the tokens that are new to it: with the template of another model come its tokens, as
    TRL's `clone_chat_template` takes them. Raises UserError.
    """
    path, eos, new = training.get("chat_template_path"), training.get("eos_token"), []
    if path and Path(path).is_file():
        tokenizer.chat_template = Path(path).read_text("utf-8")
    elif path:
        from transformers import AutoTokenizer

        with explain("tokenizer of", path):
            other = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        if not other.chat_template:
            raise UserError(
                f"training.chat_template_path: {path} has no chat template", "name another model"
            )
        tokenizer.chat_template = other.get_chat_template()
        known = tokenizer.get_vocab()
        tokens = other.added_tokens_decoder.values()
        added = [token for token in tokens if token.content not in known]
        tokenizer.add_tokens(added)
        new = [token.content for token in added]
        eos = eos or other.eos_token
    if eos and eos not in tokenizer.get_vocab():
        raise UserError(
            f"training.eos_token: the tokenizer has no token {eos!r}", "name one that it has"
        )
    if eos:
        tokenizer.eos_token = eos
    return new


def training_template(tokenizer: Any) -> str | None:
    """Return TRL's training template of the tokenizer's family, None where it has none.

    It writes every turn in the same way wherever it stands, and marks what the assistant writes.
    """
    from trl.chat_template_utils import get_training_chat_template

    own = tokenizer.chat_template
    if own is None or has_generation_tags(_text_of(own)):
        return None
    try:
        template: str | None = get_training_chat_template(tokenizer)
    except ValueError:  # TRL knows no such family
        return None
    return template


def is_tagged(tokenizer: Any, template: str) -> bool:
    """Return whether a template marks the assistant's words and what ends its turns."""
    from trl.chat_template_utils import is_chat_template_stop_token_trained

    return has_generation_tags(template) and bool(
        is_chat_template_stop_token_trained(tokenizer, chat_template=template)
    )


def token_source(tokenizer: Any, *, assistant_only: bool) -> Tokenizer:
    """Return what tokenizes rows as this tokenizer of Transformers does.

    `assistant_only`: the assistant's turns alone are learnt, so the template is TRL's training
    template where it has one of the family.
    """
    own = tokenizer.chat_template
    template = training_template(tokenizer) if assistant_only else None
    return Tokenizer(
        encode=_Encode(tokenizer),
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token or "",
        render=None if own is None else _Render(tokenizer, template),
        tagged=template is not None
        or (own is not None and assistant_only and is_tagged(tokenizer, _text_of(own))),
        identity=_identity(tokenizer, template),
    )


def _identity(tokenizer: Any, template: str | None) -> str:
    """Return a checksum of what decides on a row's tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = (
        tokenizer.name_or_path if backend is None else backend.to_str(),
        json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str),
        json.dumps(template or tokenizer.chat_template),
        str(len(tokenizer)),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _text_of(template: str | dict[str, str]) -> str:
    """Return a chat template's text, the default where it comes in several variants."""
    return template if isinstance(template, str) else template.get("default", "")


class _Encode:
    """Tokenizes a text by Transformers' tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str, special: bool) -> Encoded:
        encoded = self._tokenizer(
            text, add_special_tokens=special, return_offsets_mapping=True, verbose=False
        )
        return encoded["input_ids"], encoded["offset_mapping"]


class _Render:
    """Renders conversations by Transformers. A `Render`."""

    def __init__(self, tokenizer: Any, template: str | None) -> None:
        self._tokenizer = tokenizer
        self._template = template

    def __call__(
        self, turns: Turns, tools: Turns | None, options: Mapping[str, Any], prompt: bool
    ) -> Text:
        from transformers.utils.chat_template_utils import render_jinja_template

        tokenizer = self._tokenizer
        template = tokenizer.get_chat_template(self._template, tools)
        texts, spans = render_jinja_template(
            conversations=[turns],
            tools=tools,
            chat_template=template,
            return_assistant_tokens_mask=has_generation_tags(template),
            add_generation_prompt=prompt,
            **{**tokenizer.special_tokens_map, **options},
        )
        return texts[0], [tuple(span) for span in spans[0]] if spans else []
