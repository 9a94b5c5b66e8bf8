"""A model's tokenizer from its files: its chat template, its special tokens, its tokens."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hpclaunch.chat.hub_cache import snapshot
from hpclaunch.chat.tokens import Encoded, Tokenizer
from hpclaunch.recipe.paths import is_local
from hpclaunch.recipe.schema import Recipe
from hpclaunch.shipped import shipped

GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
"""The tag that a template has around what the assistant writes."""


class TokenizerFiles:
    """A recipe's tokenizer as far as files on this machine tell it."""

    def __init__(self, recipe: Recipe, folder: Path, template: str | None) -> None:
        self._special = _special_tokens(folder)
        self._folder = folder
        self._added = recipe.data.special_tokens
        self._eos = recipe.training.get("eos_token") or self._special.get("eos_token", "")
        self.template = template
        """Text of the chat template, None where the model has none."""

    @property
    def knows_answers(self) -> bool:
        """Whether it is known here what of a conversation the job learns.

        A family's training template is TRL's, which may be installed for the job alone.
        """
        tagged = self.template is not None and GENERATION.search(self.template) is not None
        return tagged or importlib.util.find_spec("trl") is not None

    def tokenizer(self, *, assistant_only: bool) -> Tokenizer:
        """Return what renders conversations; `assistant_only` as in the job.

        It tokenizes where the package tokenizers and its file are here, else `encode` gives none.
        Raises jinja2's TemplateError for a template that cannot be compiled.
        """
        from hpclaunch.chat.jinja import JinjaTemplate

        template = self.template
        if template is not None and assistant_only and not GENERATION.search(template):
            template = trl_training_template(template) or template
        encode = self._encode()
        bos = self._special.get("bos_token")
        return Tokenizer(
            encode=encode or (lambda _text, _special: ((), ())),
            bos=encode.id_of(bos) if encode is not None and bos else None,
            eos=self._eos,
            render=None if template is None else JinjaTemplate(template, self._special),
            tagged=assistant_only and template is not None and bool(GENERATION.search(template)),
            identity="files" if encode is not None else "",
        )

    def _encode(self) -> _Encode | None:
        file = self._folder / "tokenizer.json"
        if importlib.util.find_spec("tokenizers") is None or not file.is_file():
            return None
        from tokenizers import Tokenizer as Tokens

        try:
            tokens = Tokens.from_file(str(file))
        except Exception:  # whatever the library raises for a file of another version
            return None
        tokens.no_truncation()
        tokens.no_padding()
        if self._added:
            tokens.add_special_tokens(list(self._added))
        return _Encode(tokens)


class _Encode:
    """Tokenizes a text by the package tokenizers. An `Encode`."""

    def __init__(self, tokens: Any) -> None:
        self._tokens = tokens

    def __call__(self, text: str, special: bool) -> Encoded:
        encoded = self._tokens.encode(text, add_special_tokens=special)
        return encoded.ids, encoded.offsets

    def id_of(self, token: str) -> int | None:
        """Return a token's id, None where there is no such token."""
        found: int | None = self._tokens.token_to_id(token)
        return found


def tokenizer_files(recipe: Recipe, environment: Mapping[str, str]) -> TokenizerFiles | None:
    """Return the recipe's tokenizer, None where its files are not on this machine."""
    folder = _folder(recipe.model.name, recipe.model.revision, environment)
    if folder is None or not (folder / "tokenizer_config.json").is_file():
        return None
    named = recipe.training.get("chat_template_path")
    if named and Path(named).is_file():
        return TokenizerFiles(recipe, folder, Path(named).read_text("utf-8", "replace"))
    if named:
        other = _folder(named, None, environment)
        if other is None:
            return None
        return TokenizerFiles(recipe, folder, _chat_template(other))
    return TokenizerFiles(recipe, folder, _chat_template(folder))


def _folder(name: str, revision: str | None, environment: Mapping[str, str]) -> Path | None:
    if name.startswith("builtin:"):
        return shipped("train", f"{name.removeprefix('builtin:').replace('-', '_')}_model")
    if is_local(name):
        return Path(name) if Path(name).is_dir() else None
    return snapshot(name, revision, environment)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _special_tokens(folder: Path) -> dict[str, str]:
    """Return the special tokens by their names, such as `bos_token`."""
    found = {
        **_json(folder / "special_tokens_map.json"),
        **_json(folder / "tokenizer_config.json"),
    }
    texts = {}
    for name, value in found.items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            texts[name] = text
    return texts


def _chat_template(folder: Path) -> str | None:
    """Return a model's chat template: that of its own file, or of the tokenizer's config."""
    try:
        return (folder / "chat_template.jinja").read_text("utf-8")
    except (OSError, ValueError):
        pass
    found = _json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):  # several by name; the one for tools is a variant of the default
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


@cache
def trl_training_template(template: str) -> str | None:
    """Return TRL's training template of a family, by the family's own; None where it has none.

    Its files are read where TRL is installed, without importing it.
    """
    spec = importlib.util.find_spec("trl")
    places = (spec.submodule_search_locations if spec else None) or ()
    for place in places:
        for file in sorted((Path(place) / "chat_templates").glob("*_training.jinja")):
            own = file.with_name(file.name.replace("_training.jinja", ".jinja"))
            try:
                if own.read_text("utf-8") == template:
                    return file.read_text("utf-8")
            except (OSError, ValueError):
                continue
    return None
