"""Quantize: a model in fewer bits, in RUN/final."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Model
from hpclaunch.run.stage_settings import GGUF_MODEL_TYPES, Quantize
from hpclaunch.run.weight_files import read_json
from hpclaunch.shipped import shipped
from hpclaunch.stages.merge import check_adapter
from hpclaunch.stages.source import KnownSource
from hpclaunch.stages.stage import Place, Rows, Stage
from hpclaunch.units import count, size


def check(settings: Quantize, sources: Sequence[KnownSource]) -> None:
    """Refuse what cannot be quantized, as far as it is known here. Raises UserError."""
    for known in sources:
        if known.adapter is not None:
            check_adapter(known.adapter, known.source.name)
        config = model_config(known)
        if config is None:
            continue
        if config.get("quantization_config"):
            raise UserError(
                f"{known.source.name} is quantized already", "take the model it was made from"
            )
        kind = config.get("model_type")
        if settings.to == "gguf" and kind is not None and kind not in GGUF_MODEL_TYPES:
            raise UserError(
                f"{known.source.name}: model type {kind!r} cannot be written as GGUF here",
                f"those that can: {', '.join(GGUF_MODEL_TYPES)}; or take --to int8, int4 or nf4",
            )


def model_config(known: KnownSource) -> Mapping[str, Any] | None:
    """Return config.json of the whole model behind a source, None where it is not here."""
    name = known.base or known.source.model
    if known.config is not None or name is None:
        return known.config
    if name.startswith("builtin:"):
        return read_json(shipped("train", "tiny_llama_model") / "config.json")
    from hpclaunch.forecast.model_config import model_config as find_config

    model = Model(name=name, revision=known.source.revision)
    return find_config(model, os.environ, ask_hub=False)[0]


def place(settings: Quantize, sources: Sequence[KnownSource]) -> Place:
    """Return where it runs: GGUF is written on CPUs."""
    return "cpu" if settings.to == "gguf" else "either"


def check_job(
    settings: Quantize, python: Path, internet: bool, environment: Mapping[str, str]
) -> None:
    """Make the environment of llm-compressor where it is needed. Raises UserError."""
    if settings.to in {"int8", "int4"}:
        from hpclaunch.stages.environment import ensure_compressor

        ensure_compressor(python)


def rows(values: Mapping[str, Any]) -> Rows:
    """Return sizes and what they cost, as label and text."""
    found: Rows = []
    before, after = values.get("bytes_before"), values.get("bytes")
    if isinstance(before, int) and isinstance(after, int) and before:
        name = values.get("file") or f"{values.get('files')} files"
        found.append(
            (
                "size",
                f"{size(after)} of {size(before)}, {after / before:.0%} ({values.get('type')}, "
                f"{name})",
            )
        )
    one, other = values.get("perplexity_before"), values.get("perplexity_after")
    if isinstance(one, int | float) and isinstance(other, int | float) and one:
        found.append(
            (
                "perplexity",
                f"{other:.4g}, before {one:.4g} ({other / one - 1:+.2%}), on "
                f"{count(values.get('texts'))} rows of the run's data",
            )
        )
    elif isinstance(values.get("not_measured"), str):
        found.append(("perplexity", f"not measured: {values['not_measured']}"))
    if isinstance(values.get("note"), str):
        found.append(("note", values["note"]))
    return found


STAGE = Stage(
    settings=Quantize,
    output="final",
    rows=rows,
    check=check,
    place=place,
    check_job=check_job,
    packages=("torch", "transformers", "hpclaunch"),
)
