"""Which files of a folder are a model, and may be given to others."""

from __future__ import annotations

import re
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.regular_file import read_regular
from hpclaunch.run.weight_files import leads_elsewhere
from hpclaunch.secrets import begin_of, find_secret

_MODEL_FILES = re.compile(
    r"(?:model|adapter_model|consolidated)[\w.-]*\.safetensors(?:\.index\.json)?"
    r"|[\w.-]+\.gguf|[\w-]*config\.json|chat_template\.(?:jinja|json)|recipe\.yaml"
    r"|(?:LICENSE|LICENCE|NOTICE|USE_POLICY)(?:\.\w+)?"
)
_TOKENIZER_FILES = re.compile(
    r"tokenizer\.(?:json|model)|(?:special_tokens_map|added_tokens|vocab|tekken)\.json"
    r"|merges\.txt|vocab\.txt|[\w-]*\.(?:tiktoken|spm)|(?:spiece|sentencepiece[\w.]*)\.model"
)
"""Apart from its config: words by the thousand, among which some look like anything."""
MAX_TEXT_BYTES = 1 << 24
"""Of a config or a chat template."""


def files_to_publish(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the files that are the model, and the names of what else lies there.

    What is not known to be a part of a model stays: states of optimizers, logs, keys. Raises
    UserError for a link out of the folder, and for a text that holds a secret.
    """
    published, left_out = [], []
    for path in sorted(folder.iterdir()):
        tokenizer = bool(_TOKENIZER_FILES.fullmatch(path.name))
        if path.name.startswith(".") or not (tokenizer or _MODEL_FILES.fullmatch(path.name)):
            if path.name != "README.md":  # a card takes its place
                left_out.append(path.name)
            continue
        if leads_elsewhere(path):
            raise UserError(f"{path} is a link to {path.resolve()}", "put the file itself there")
        if not path.is_file():
            left_out.append(path.name)
            continue
        if not tokenizer and path.suffix not in {".safetensors", ".gguf"}:
            _refuse_secret(path)
        published.append(path)
    return published, left_out


def _refuse_secret(path: Path) -> None:
    try:
        text = read_regular(path.resolve(), MAX_TEXT_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    secret = find_secret(text)
    if secret is not None:
        raise UserError(f"{path} holds a secret ({begin_of(secret)})", "take it out")
