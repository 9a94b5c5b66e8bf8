"""`from_pretrained` without its reading: the model stays on the meta device."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hpclaunch.train.loading import four_bit
from hpclaunch.train.loading.files import Deferred, NotDeferredError
from hpclaunch.train.loading.reader import Reader

STACKED = frozenset({"MergeModulelist", "Concatenate"})
"""Conversions that stack experts: of a rank's own experts alone they give that rank's shard."""


@contextmanager
def deferred(*, keep: bool = False) -> Iterator[None]:
    """Have `from_pretrained` read headers alone, and leave the parameters on meta.

    `keep`: keep 4-bit weights in the cache, and read them from there.

    Within it `from_pretrained` raises NotDeferredError for what must be loaded whole. Missing and
    unexpected keys are reported as ever: the loader runs over empty tensors of the files' shapes.
    """
    from transformers import PreTrainedModel

    original = PreTrainedModel._load_pretrained_model

    def postpone(
        model: Any,
        state_dict: Any,
        checkpoint_files: list[str] | None,
        load_config: Any,
        expected_keys: Any = None,
    ) -> Any:
        files = list(checkpoint_files or ())
        if state_dict is not None or not files:
            raise NotDeferredError("its weights come from no files")
        if not all(str(each).endswith(".safetensors") for each in files):
            raise NotDeferredError("its files are no safetensors")
        quantizer = load_config.hf_quantizer
        if quantizer is not None and quantizer.pre_quantized:
            raise NotDeferredError("its files are quantized already")
        if set(model.state_dict()) - {name for name, _ in model.named_parameters()} - _tied(model):
            raise NotDeferredError("its files hold buffers beside the parameters")
        found = original(
            model,
            _headers(files),
            files,
            dataclasses.replace(load_config, device_map={"": "meta"}),
            expected_keys,
        )
        _check_conversions(model)
        skeleton = _skeleton(model, load_config.dtype)
        model.deferred_load = Deferred(files, load_config, skeleton, keep)
        if quantizer is not None:
            _pack(model)
        return found

    PreTrainedModel._load_pretrained_model = staticmethod(postpone)
    try:
        yield
    finally:
        PreTrainedModel._load_pretrained_model = staticmethod(original)


def _tied(model: Any) -> set[str]:
    return set(getattr(model, "all_tied_weights_keys", None) or ())


def _headers(files: list[str]) -> dict[str, Any]:
    """Return the files' tensors on meta."""
    from safetensors import safe_open
    from safetensors.torch import _getdtype

    tensors = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - no dict
                part = opened.get_slice(name)
                tensors[name] = torch.empty(
                    part.get_shape(), dtype=_getdtype(part.get_dtype()), device="meta"
                )
    return tensors


def _check_conversions(model: Any) -> None:
    """Refuse conversions that need more of a tensor than a rank's own rows."""
    for conversion in model._weight_conversions:
        for operation in getattr(conversion, "operations", ()):
            name = type(operation).__name__
            if name.startswith("Bnb4bit"):
                continue
            if name not in STACKED or (name == "Concatenate" and operation.dim == 0):
                raise NotDeferredError(f"its files need a conversion of whole matrices ({name})")


def _pack(model: Any) -> None:
    """Give 4-bit weights the shapes that they will have; refuse those that are no plain matrix."""
    reader = Reader(model.deferred_load)
    for name, module in four_bit.layers(model).items():
        if getattr(module, "source_cls", torch.nn.Linear) is not torch.nn.Linear:
            raise NotDeferredError(f"{name} was a {module.source_cls.__name__}, and is transposed")
        if reader.is_converted(f"{name}.weight"):
            raise NotDeferredError(f"{name}.weight is converted before it is quantized")
    four_bit.pack_on_meta(model, model.deferred_load.load_config.dtype)


def _skeleton(model: Any, dtype: Any) -> Any:
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        return type(model)._from_config(config, dtype=dtype)
