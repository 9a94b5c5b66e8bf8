"""A local model's folder is looked at before submission: what no trainer could load is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.model_folder import check_model_folder
from hpclaunch.shipped import shipped

POINTER = "version https://git-lfs.github.com/spec/v1\nsize 9\n"
ADAPTER = json.dumps({"base_model_name_or_path": "org/base"})
INDEX = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}})


@pytest.mark.parametrize(
    ("gone", "files", "said"),
    [
        ((), {}, ""),
        (("config.json",), {}, "has no config.json"),
        (("config.json",), {"adapter_config.json": ADAPTER}, r"adapter.*model\.name=org/base"),
        (("config.json",), {"m.gguf": ""}, "holds GGUF"),
        (("config.json",), {"params.json": "{}"}, "as their makers store them"),
        (("config.json",), {"model_index.json": "{}"}, "a pipeline of diffusers"),
        (
            ("config.json",),
            {"step-5/config.json": "{}"},
            r"config.json is in step-5/; name .*/step",
        ),
        ((), {"config.json": "[1]"}, "is no mapping"),
        ((), {"config.json": "{"}, "cannot be read as JSON"),
        ((), {"config.json": "\ufeff{}"}, "BOM"),
        ((), {"config.json": POINTER}, "pointer of Git LFS"),
        ((), {"model.safetensors": POINTER}, "pointer of Git LFS, and no weights"),
        (("model.safetensors",), {"pytorch_model.bin": ""}, r"has no \*\.safetensors"),
        ((), {"model.safetensors.index.json": INDEX}, "not whole: .* model-2.safetensors, not"),
        (("tokenizer.json",), {}, "has no tokenizer"),
        ((), {"tokenizer_config.json": "{"}, "tokenizer_config.json cannot be read as JSON"),
        (
            ("tokenizer.json",),
            {"tokenizer_config.json": '{"tokenizer_class": "ByT5Tokenizer"}'},
            "",
        ),
    ],
)
def test_a_folder_is_loadable_or_refused_with_what_it_holds(
    tmp_path: Path, gone: tuple[str, ...], files: dict[str, str], said: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(shipped("train", "tiny_llama_model"), folder)
    for name in gone:
        (folder / name).unlink()
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    if not said:
        check_model_folder(folder)
        return
    with pytest.raises(UserError, match=said):
        check_model_folder(folder)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("GGUF")
    with pytest.raises(UserError, match=r"is a file.*name the model that it was made from"):
        check_model_folder(tmp_path / "m.gguf")
