"""Quantize: a model in fewer bits, in RUN/final."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.predict.inference import (
    MEASURED_TOKENS,
    PROCESS,
    InferenceMemory,
    calibration_bytes,
    largest_tensor,
    nf4_bytes,
)
from hpclaunch.predict.training_step import BF16_BYTES, FP32_BYTES
from hpclaunch.run.stage_settings import GGUF_MODEL_TYPES, Quantize
from hpclaunch.stages.loaded import loaded_model, model_config
from hpclaunch.stages.merge import check_adapter
from hpclaunch.stages.need import Need, Unknown
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


def place(settings: Quantize, sources: Sequence[KnownSource]) -> Place:
    """Return where it runs: GGUF is written on CPUs."""
    return "cpu" if settings.to == "gguf" else "either"


def need(settings: Quantize, sources: Sequence[KnownSource]) -> Need | Unknown:
    """Return what the format itself takes; perplexities are measured where there is room."""
    used = loaded_model(sources[0])
    if isinstance(used, Unknown):
        return used
    model = used.model
    tensor = 2 * used.value_bytes * largest_tensor(model)
    adapter = FP32_BYTES * used.adapter_parameters
    whole = BF16_BYTES * model.parameters
    measuring = int(1.3 * used.weight_bytes) if settings.perplexity else 0
    if settings.to == "gguf":
        return Need(
            cpu_bytes=int(PROCESS + 2 * tensor + adapter),
            # Read back in fp32: the model, and what was read.
            more_bytes=2 * FP32_BYTES * model.parameters if settings.perplexity else 0,
        )
    if settings.to == "nf4":
        held = nf4_bytes(model)
        return Need(
            gpu=InferenceMemory(held, 0, 0),
            host_bytes=int(PROCESS + tensor + adapter),
            cpu_bytes=int(PROCESS + whole + held),
            more_bytes=measuring,
        )
    rows_bytes = 2 * BF16_BYTES * settings.rows * MEASURED_TOKENS * model.hidden_size
    if settings.to == "int4" and sources[0].recipe is not None:
        return Need(
            gpu=InferenceMemory(calibration_bytes(model, MEASURED_TOKENS), 0, 0),
            host_bytes=int(2 * PROCESS + whole + rows_bytes),
            cpu_bytes=int(2 * PROCESS + whole + rows_bytes + calibration_bytes(model, 1)),
            more_bytes=measuring,
            assumed=(f"calibration rows of {MEASURED_TOKENS} tokens, on the host between layers",),
        )
    layer = BF16_BYTES * largest_tensor(model)
    return Need(
        gpu=InferenceMemory(2 * layer, 0, 0),
        host_bytes=int(2 * PROCESS + 2 * tensor),
        cpu_bytes=int(2 * PROCESS + 2 * tensor + adapter),
        more_bytes=measuring,
    )


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
    rows=rows,
    check=check,
    place=place,
    check_job=check_job,
    need=need,
    packages=("torch", "transformers", "hpclaunch"),
)
