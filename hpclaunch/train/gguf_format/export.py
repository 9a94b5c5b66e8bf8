"""A folder of safetensors written as one GGUF file, a tensor in memory at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from hpclaunch.errors import UserError
from hpclaunch.train import phases
from hpclaunch.train.gguf_format.parameters import add_parameters, architecture
from hpclaunch.train.gguf_format.tokenizer import add_tokenizer
from hpclaunch.train.stages.tensor_files import TensorFiles

_FILES, _TYPES = gguf.LlamaFileType, gguf.GGMLQuantizationType
TYPES = {
    "f32": (_FILES.ALL_F32, _TYPES.F32),
    "f16": (_FILES.MOSTLY_F16, _TYPES.F16),
    "bf16": (_FILES.MOSTLY_BF16, _TYPES.BF16),
    "q8_0": (_FILES.MOSTLY_Q8_0, _TYPES.Q8_0),
    "q4_0": (_FILES.MOSTLY_Q4_0, _TYPES.Q4_0),
}
"""The file's and its matrices' type, by the name of it."""
_PLAIN: dict[Any, Any] = {_TYPES.F32: np.dtype(np.float32), _TYPES.F16: np.dtype(np.float16)}
ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True)
class Written:
    """A tensor's place in both formats."""

    name: str
    """In the safetensors."""
    new_name: str
    """In the GGUF file."""
    shape: tuple[int, ...]
    type: Any


class Conversion:
    """A model's tensors on their way to GGUF and back."""

    def __init__(self, folder: Path, to: str) -> None:
        """Read the config and the names of all tensors. Raises UserError for what has no place."""
        self.config: Mapping[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        self.arch = architecture(self.config)
        self.file_type, self.type = TYPES[to]
        self.files = TensorFiles(folder)
        self.heads = int(self.config["num_attention_heads"])
        self.kv_heads = int(self.config.get("num_key_value_heads") or self.heads)
        self.tensors = [found for name in sorted(self.files.files) if (found := self._place(name))]

    @property
    def rows(self) -> int:
        """Rows of the embeddings."""
        return self.files.shape("model.embed_tokens.weight")[0]

    def _place(self, name: str) -> Written | None:
        """Return a tensor's place, None for one that is another's copy. Raises UserError."""
        if name == "lm_head.weight" and self.config.get("tie_word_embeddings"):
            return None
        names = gguf.get_tensor_name_map(self.arch, self.config["num_hidden_layers"])
        new_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new_name is None:
            raise UserError(f"GGUF has no name for the tensor {name} of this architecture")
        shape = self.files.shape(name)
        kind = _TYPES.F32 if len(shape) == 1 or new_name.endswith("_norm.weight") else self.type
        if shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
            kind = _TYPES.F16  # a row is no whole number of blocks
        return Written(name, new_name, shape, kind)

    def changed(self, name: str, tensor: Any) -> Any:
        """Return a tensor as GGUF has it: rotary halves interleaved, Gemma's norms plus 1."""
        if self._is_rotary(name):
            heads = self._heads_of(name)
            half = tensor.shape[0] // heads // 2
            split = tensor.reshape(heads, 2, half, *tensor.shape[1:])
            return split.swapaxes(1, 2).reshape(tensor.shape)
        return tensor + 1 if self._is_shifted(name) else tensor

    def original(self, name: str, tensor: Any) -> Any:
        """Return a tensor as the safetensors have it: what `changed` does, undone."""
        if self._is_rotary(name):
            heads = self._heads_of(name)
            half = tensor.shape[0] // heads // 2
            split = tensor.reshape(heads, half, 2, *tensor.shape[1:])
            return split.swapaxes(1, 2).reshape(tensor.shape)
        return tensor - 1 if self._is_shifted(name) else tensor

    def _is_rotary(self, name: str) -> bool:
        return self.arch == gguf.MODEL_ARCH.LLAMA and (".q_proj." in name or ".k_proj." in name)

    def _heads_of(self, name: str) -> int:
        return self.heads if ".q_proj." in name else self.kv_heads

    def _is_shifted(self, name: str) -> bool:
        return self.arch == gguf.MODEL_ARCH.GEMMA3 and name.endswith("norm.weight")


def export(folder: Path, path: Path, to: str, name: str) -> dict[str, Any]:
    """Write a model's folder as a GGUF file; return how large it became. Raises UserError.

    `name`: what programs call the model. The file is there only once it is whole.
    """
    from transformers import AutoTokenizer

    model = Conversion(folder, to)
    partial = path.with_name(f".{path.name}.partial")
    writer = gguf.GGUFWriter(partial, gguf.MODEL_ARCH_NAMES[model.arch])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    factors = add_parameters(writer, model.config, model.rows)
    writer.add_file_type(model.file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    add_tokenizer(writer, folder, tokenizer, model.rows)
    if factors is not None:
        writer.add_tensor_info(
            ROPE_FACTORS, factors.shape, factors.dtype, factors.nbytes, _TYPES.F32
        )
    for each in model.tensors:
        _add_info(writer, each)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    phases.begin(f"writing {to}")
    for number, each in enumerate(model.tensors, 1):
        tensor = model.files.tensor(each.name).to(torch.float32)
        data = model.changed(each.name, tensor).contiguous().numpy()
        writer.write_tensor_data(gguf.quantize(data, each.type))
        phases.count(number, len(model.tensors), "tensors")
    writer.close()
    partial.rename(path)
    plain = sum(1 for t in model.tensors if len(t.shape) > 1 and t.type != model.type)
    return {"bytes": path.stat().st_size, "files": 1, "in_another_type": plain}


def _add_info(writer: Any, each: Written) -> None:
    dtype = _PLAIN.get(each.type)
    if dtype is not None:
        size = math.prod(each.shape) * dtype.itemsize
        writer.add_tensor_info(each.new_name, each.shape, dtype, size, each.type)
        return
    shape = gguf.quant_shape_to_byte_shape(each.shape, each.type)
    writer.add_tensor_info(each.new_name, shape, np.dtype(np.uint8), math.prod(shape), each.type)


def read_back(folder: Path, path: Path, to: str) -> dict[str, Any]:
    """Return the tensors of a GGUF file in float32, by the names of the folder it was made of."""
    model = Conversion(folder, to)
    reader = gguf.GGUFReader(path)
    held = {tensor.name: tensor for tensor in reader.tensors}
    state = {}
    for each in model.tensors:
        tensor = held[each.new_name]
        values = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(each.shape)
        state[each.name] = model.original(each.name, torch.from_numpy(np.array(values, np.float32)))
    return state
