"""A tokenizer in GGUF's keys: tokens, their types, merges or scores, special tokens, template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from hpclaunch.errors import UserError
from hpclaunch.run.weight_files import read_json

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {_LLAMA3: "llama-bpe", _LLAMA3.replace("{1,3}", ""): "qwen2", _TEKKEN: "tekken"}
"""llama.cpp's name of each pattern by which a text is split before its pairs are merged."""
TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<end_of_turn>")
"""Tokens that end a turn, where a model stops at several."""
_SPACE = "\u2581"
_BYTE_LENGTH = len("<0x00>")


def pre_tokenizer(document: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of how a tokenizer.json splits texts. Raises UserError."""
    pre = document.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex") and not steps[0]["add_prefix_space"]:
        return "gpt-2"
    if kinds == ["Split", "ByteLevel"] and not steps[1].get("use_regex"):
        name = PATTERNS.get((steps[0].get("pattern") or {}).get("Regex", ""))
        if name and steps[0].get("behavior") == "Isolated":
            return name
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    raise UserError(
        f"llama.cpp has no name for how this tokenizer splits texts: {' + '.join(map(str, kinds))}",
        "use llama.cpp's own convert_hf_to_gguf.py",
    )


def add_tokenizer(writer: Any, folder: Path, tokenizer: Any, rows: int) -> None:
    """Write a tokenizer, with as many tokens as the embeddings have rows. Raises UserError."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not (folder / "tokenizer.json").is_file():
        raise UserError(f"{folder} has no tokenizer.json", "save the tokenizer as a fast one")
    # As it was loaded: for some architectures Transformers splits texts in another way than the
    # file says.
    document = json.loads(backend.to_str())
    model = document["model"]
    if model.get("type") != "BPE":
        raise UserError(f"tokenizers of type {model.get('type')} cannot be written as GGUF here")
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    if max(names) >= rows:
        raise UserError(
            f"the tokenizer has a token number {max(names)}, the embeddings have {rows} rows"
        )
    # As SentencePiece has it, with a token for each byte: Llama 2, Mistral 7B, Gemma.
    pieces = bool(model.get("byte_fallback"))
    tokens = [_token(number, names, tokenizer, model, pieces) for number in range(rows)]
    if pieces:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(model["merges"], names, rows))
        writer.add_add_space_prefix(tokenizer.tokenize("a")[0].startswith(_SPACE))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre_tokenizer(document))
    writer.add_token_list([text.encode() for text, _ in tokens])
    writer.add_token_types([int(kind) for _, kind in tokens])
    _add_special(writer, folder, tokenizer, names, rows, merges=not pieces)


def _token(
    number: int, names: Mapping[int, str], tokenizer: Any, model: Mapping[str, Any], pieces: bool
) -> tuple[str, Any]:
    """Return a token's text and GGUF's type of it."""
    kinds = gguf.TokenType
    text = names.get(number)
    if text is None:
        return f"[PAD{number}]", kinds.UNUSED
    added = tokenizer.added_tokens_decoder.get(number)
    if added is not None:
        if added.special:
            return text, kinds.CONTROL
        return text.replace(_SPACE, " "), kinds.USER_DEFINED
    if pieces and text == model.get("unk_token"):
        return text, kinds.UNKNOWN
    if pieces and len(text) == _BYTE_LENGTH and text.startswith("<0x"):
        return text, kinds.BYTE
    return text, kinds.NORMAL


def _scores(merges: list[Any], names: Mapping[int, str], rows: int) -> list[float]:
    """Return the tokens' scores, by their rank in the merges: llama.cpp joins the best first."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        joined = "".join(pair.split(" ") if isinstance(pair, str) else pair)
        ranks.setdefault(joined, rank)
    return [-float(ranks.get(names.get(number, ""), len(ranks) + number)) for number in range(rows)]


def _add_special(
    writer: Any, folder: Path, tokenizer: Any, names: Mapping[int, str], rows: int, *, merges: bool
) -> None:
    """Write merges, the chat template, and which tokens begin and end a text."""
    special = gguf.SpecialVocab(folder, load_merges=merges, n_vocab=rows)
    # What the tokenizer does is surer than what its files say of it.
    ids = tokenizer("a")["input_ids"]
    special.add_special_token = {
        "bos": bool(ids) and ids[0] == tokenizer.bos_token_id,
        "eos": bool(ids) and ids[-1] == tokenizer.eos_token_id,
    }
    for kind in ("bos", "eos", "pad", "unk"):
        number = getattr(tokenizer, f"{kind}_token_id")
        if number is not None:
            special.special_token_ids[kind] = number
    ends = (read_json(folder / "generation_config.json") or {}).get("eos_token_id")
    for number in ends if isinstance(ends, list) else []:
        if names.get(number) in TURN_ENDS:
            writer.add_eot_token_id(number)
    special.add_to_gguf(writer, quiet=True)
