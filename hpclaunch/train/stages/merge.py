"""`python -m hpclaunch.train.stages.merge`: an adapter and its base become one model.

Memory: the largest tensor twice, and the adapter. Only to compare logits at the end the models are
loaded whole, where that much memory is free.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.run.weight_files import leads_elsewhere
from hpclaunch.train import phases
from hpclaunch.train.stages.inputs import Weights, model_folder
from hpclaunch.train.stages.models import import_libraries
from hpclaunch.train.stages.run import StageRun, stage_program

TOKENIZER_FILES = (
    "tokenizer",
    "special_tokens",
    "chat_template",
    "added_tokens",
    "vocab",
    "merges",
)
"""How the names of a tokenizer's files begin."""
_TEXT = {".json", ".jinja", ".txt", ".model", ".tiktoken"}
MAX_KL = 1e-2
"""Of the next token's distribution, averaged: more than any rounding to 16 bits brings about."""


def merge(run: StageRun) -> dict[str, Any]:
    """Write the merged model to RUN/final; return what is known of it. Raises UserError."""
    weights = run.open(run.record.sources[0])
    if weights.adapter is None:
        raise UserError(f"{weights.name} is a whole model: there is no adapter to merge")
    import_libraries()
    from hpclaunch.train.stages import compare

    base = model_folder(weights)
    with run.final() as folder:
        values = write_merged(weights, base, folder)
        if run.settings.verify:
            reason = compare.no_room(base)
            if reason:
                values["not_verified"] = reason
            else:
                phases.begin("comparing logits before and after")
                difference = compare.logits(weights, base, folder)
                if difference["kl"] > MAX_KL:
                    raise RuntimeError(
                        f"the merged model is another one: KL divergence {difference['kl']:.3g} of "
                        "its logits; nothing was kept"
                    )
                values["logits"] = difference
        else:
            values["not_verified"] = "--no-verify"
    return values


def write_merged(weights: Weights, base: Path, folder: Path) -> dict[str, Any]:
    """Write the merged model into a folder, tensor by tensor."""
    from transformers import AutoConfig, AutoTokenizer

    from hpclaunch.train.stages.adapter import MergedTensors
    from hpclaunch.train.stages.tensor_files import (
        SINGLE,
        TensorFiles,
        names_by_file,
        write_index,
        write_tensors,
    )

    assert weights.adapter is not None  # noqa: S101 - for the type checker; merge refused it
    config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    if getattr(config, "quantization_config", None):
        raise UserError(
            f"the base {weights.model} is quantized, and rounding it again would change it",
            "name the unquantized base in base_model_name_or_path of adapter_config.json",
        )
    files = TensorFiles(base)
    tokenizer = AutoTokenizer.from_pretrained(weights.tokenizer, trust_remote_code=False)
    text = config.get_text_config()
    rows = max(int(text.vocab_size), len(tokenizer))
    tensors = MergedTensors(files, config, weights.adapter, rows)
    total, done = 0, 0
    written = dict(files.files)
    phases.begin("merging")
    for file, names in names_by_file(files.files).items():
        shapes = {name: tensors.shape(name) for name in names}

        def value(name: str) -> Any:
            nonlocal done
            done += 1
            phases.count(done, len(written), "tensors")
            return tensors.value(name)

        total += write_tensors(folder / file, shapes, value)
    head = tensors.head()
    if head is not None:
        name, tensor = head
        written[name] = "model-lm_head.safetensors"
        total += write_tensors(
            folder / written[name], {name: (tuple(tensor.shape), tensor.dtype)}, lambda _: tensor
        )
        if (folder / SINGLE).is_file():  # which would win over an index
            whole = "model-00001-of-00002.safetensors"
            (folder / SINGLE).rename(folder / whole)
            written = {key: whole if at == SINGLE else at for key, at in written.items()}
    tensors.check_all_used()
    if set(written.values()) != {SINGLE}:
        write_index(folder, written, total)
    _write_config(base, folder, untied=head is not None, rows=rows)
    _copy_texts(base, weights.adapter, folder)
    return {
        "bytes": total,
        "files": len(set(written.values())),
        "untied": head is not None,
        "base": weights.model,
        "revision": weights.revision,
    }


def _write_config(base: Path, folder: Path, *, untied: bool, rows: int) -> None:
    """Write config.json: the base's own, but for what merging changed."""
    document = json.loads((base / "config.json").read_text("utf-8"))
    parts = [document, *(v for k, v in document.items() if k == "text_config")]
    for part in parts:
        if "vocab_size" in part:
            part["vocab_size"] = rows
    if untied:
        for part in parts:
            part["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _copy_texts(base: Path, adapter: Path, folder: Path) -> None:
    """Copy the small files beside the weights: the tokenizer is the adapter's where it has one."""
    own = (adapter / "tokenizer_config.json").is_file()
    for path in sorted(base.iterdir()):
        if path.suffix not in _TEXT or path.name.endswith(".index.json") or not path.is_file():
            continue
        if path.name == "config.json" or (own and path.name.startswith(TOKENIZER_FILES)):
            continue
        _copy(path, folder)
    if own:
        for path in sorted(adapter.iterdir()):
            if path.name.startswith(TOKENIZER_FILES) and path.suffix in _TEXT and path.is_file():
                _copy(path, folder)


def _copy(path: Path, folder: Path) -> None:
    """Copy a file; a link of another user's to elsewhere may lead to a file of the reader's."""
    if leads_elsewhere(path) and path.lstat().st_uid != os.geteuid():
        raise UserError(f"{path} is a link of another user's to {path.resolve()}")
    shutil.copyfile(path, folder / path.name)


if __name__ == "__main__":
    stage_program(merge)
