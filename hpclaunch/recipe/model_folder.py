"""A local model's folder: whether the trainer can load what lies in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError, printable
from hpclaunch.units import size

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
INDEX = "model.safetensors.index.json"
POINTER = b"version https://git-lfs"
"""What Git LFS leaves in the place of a file that was not fetched."""
_POINTER_BYTES = 1024
_MOST_BYTES = 50_000_000
"""No config and no index of shards is larger."""
_VOCABULARIES = ("tokenizer.json", "*.model", "vocab*", "*.tiktoken", "tekken.json", "bpe.codes")
"""Files that hold a tokenizer's vocabulary; some models have it in one, some in several."""
_WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
"""Tokenizers of bytes and characters."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config.json of a model's folder. Raises UserError where it is none."""
    if folder.is_file():
        raise UserError(f"{folder} is a file, and no model folder", _fix_of_file(folder))
    if (folder / CONFIG).is_file():
        return _mapping(folder / CONFIG)
    problem, fix = _other_folder(folder)
    raise UserError(f"{folder} {problem}", fix)


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that the trainer cannot load a model and its tokenizer from.

    Raises UserError.
    """
    read_config(folder)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(
            f"{folder} has no *.safetensors; other weight files can hold code",
            "convert them: load the model and call save_pretrained",
        )
    pointer = next(filter(_is_pointer, weights), None)
    if pointer is not None:
        raise UserError(f"{pointer} is a pointer of Git LFS, and no weights", "git lfs pull")
    _check_shards(folder)
    tokenizer = folder / "tokenizer_config.json"
    described = _mapping(tokenizer) if tokenizer.is_file() else {}
    vocabulary = any(any(folder.glob(name)) for name in _VOCABULARIES)
    if not vocabulary and described.get("tokenizer_class") not in _WITHOUT_VOCABULARY:
        raise UserError(
            f"{folder} has no tokenizer: no tokenizer.json, and no vocabulary",
            "copy the tokenizer's files of its base model there",
        )


def _check_shards(folder: Path) -> None:
    if not (folder / INDEX).is_file():
        return
    named = _mapping(folder / INDEX).get("weight_map")
    files = sorted({str(name) for name in named.values()}) if isinstance(named, Mapping) else []
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} is not whole: {INDEX} names {printable(missing[0])}"
            + (f" and {len(missing) - 1:,} more files" if len(missing) > 1 else "")
            + ", not there",
            "copy or fetch the model anew",
        )


def _mapping(file: Path) -> dict[str, Any]:
    """Return a JSON file's mapping. Raises UserError."""
    if _is_pointer(file):
        raise UserError(f"{file} is a pointer of Git LFS, and not the file", "git lfs pull")
    again = "copy or fetch it anew"
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"{file} has more than {size(_MOST_BYTES)}", again)
        found = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}", again) from None
    if not isinstance(found, dict):
        raise UserError(f"{file} is no mapping", again)
    return found


def _is_pointer(file: Path) -> bool:
    try:
        if file.stat().st_size > _POINTER_BYTES:
            return False
        return file.read_bytes().startswith(POINTER)
    except OSError:
        return False


def _fix_of_file(file: Path) -> str:
    if file.suffix == ".gguf":
        return "GGUF is for llama.cpp: name the model that it was made from"
    return "name the folder that holds config.json"


def _other_folder(folder: Path) -> tuple[str, str]:
    """Return what a folder without config.json holds, and what to name in its place."""
    if (folder / ADAPTER_CONFIG).is_file():
        base = _mapping(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        named = f" (model.name={printable(base)})" if isinstance(base, str) and base else ""
        return (
            "holds an adapter, and no model",
            f"name its base model{named}, or merge it first: hpclaunch merge {folder}",
        )
    if any(folder.glob("*.gguf")):
        return "holds GGUF, for llama.cpp", "name the model that it was made from"
    if (folder / "params.json").is_file() or any(folder.glob("consolidated*")):
        return (
            "holds weights as their makers store them, without config.json",
            "name the hub's model, or its folder with config.json and *.safetensors",
        )
    if (folder / "model_index.json").is_file():
        return "holds a pipeline of diffusers, and no language model", "name a language model"
    inner = sorted({config.parent for config in folder.glob(f"*/{CONFIG}")})
    inner += sorted({config.parent for config in folder.glob(f"snapshots/*/{CONFIG}")})
    if inner:
        return f"is no model folder: {CONFIG} is in {inner[-1].relative_to(folder)}/", (
            f"name {inner[-1]}"
        )
    return f"is no model folder: it has no {CONFIG}", "name the folder that save_pretrained wrote"
