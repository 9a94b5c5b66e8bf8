"""The model that a stage will load: its shape and its bytes, from small files alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.predict.architecture import Architecture
from hpclaunch.predict.families import architecture
from hpclaunch.predict.from_recipe import adapter_parameters_of
from hpclaunch.predict.inference import Inference
from hpclaunch.predict.training_step import BF16_BYTES, FP32_BYTES
from hpclaunch.recipe.schema import Model
from hpclaunch.run.weight_files import read_json
from hpclaunch.shipped import shipped
from hpclaunch.stages.need import Unknown
from hpclaunch.stages.source import KnownSource

_BYTES = {"float32": FP32_BYTES, "bfloat16": BF16_BYTES, "float16": BF16_BYTES}


def model_config(known: KnownSource) -> Mapping[str, Any] | None:
    """Return config.json of the whole model behind a source, None where it is not here."""
    name = known.shape_of or known.base or known.source.model
    if name is None and known.recipe is not None and not known.writes_model:
        name = known.recipe.model.name  # trained whole: its shape stays
    if known.config is not None or name is None:
        return known.config
    if name.startswith("builtin:"):
        return read_json(shipped("train", "tiny_llama_model") / "config.json")
    from hpclaunch.forecast.model_config import model_config as find_config

    model = Model(name=name, revision=known.source.revision)
    return find_config(model, os.environ, ask_hub=False)[0]


def shape_of(known: KnownSource) -> Architecture | Unknown:
    """Return the shape of the model behind a source, or why it is not known."""
    config = model_config(known)
    if config is None:
        return Unknown(f"nothing is known of the size of {known.source.name} yet")
    try:
        return architecture(config, known.source.name)
    except UserError as error:
        return Unknown(error.message)


def loaded_model(known: KnownSource) -> Inference | Unknown:
    """Return the model as it is loaded in the type of its files, or why that is not known."""
    model, config = shape_of(known), model_config(known) or {}
    if isinstance(model, Unknown):
        return model
    value_bytes = _value_bytes(config, known)
    weight_bytes = model.parameters * value_bytes
    quantized = config.get("quantization_config")
    if quantized:
        kind = quantized.get("quant_method") if isinstance(quantized, Mapping) else None
        stored = _stored_bytes(known.weights)
        if kind != "bitsandbytes" or stored is None:
            return Unknown(f"{known.source.name} is quantized: what it takes once loaded")
        weight_bytes, value_bytes = stored, BF16_BYTES
    return Inference(model, weight_bytes, value_bytes, _adapter_parameters(known, model))


def _value_bytes(config: Mapping[str, Any], known: KnownSource) -> int:
    """Return the bytes of a weight as it is loaded: 16 bits where nothing says otherwise."""
    text = config.get("text_config")
    parts = [config, *([text] if isinstance(text, Mapping) else [])]
    for part in parts:
        kind = part.get("dtype") or part.get("torch_dtype")
        if isinstance(kind, str) and kind in _BYTES:
            return _BYTES[kind]
    return BF16_BYTES


def _stored_bytes(folder: Path | None) -> int | None:
    """Return the bytes of the weights in a folder; None where there are none."""
    if folder is None:
        return None
    try:
        return sum(path.stat().st_size for path in folder.glob("*.safetensors")) or None
    except OSError:
        return None


def _adapter_parameters(known: KnownSource, model: Architecture) -> int:
    """Return the parameters of a source's adapter, 0 where it is a whole model."""
    if known.is_adapter is False or (known.is_adapter is None and known.adapter is None):
        return 0
    if known.recipe is not None:
        return adapter_parameters_of(known.recipe.method.lora, model)
    rank = (known.adapter or {}).get("r")
    return model.adapter_parameters(rank) if isinstance(rank, int) and rank > 0 else 0
