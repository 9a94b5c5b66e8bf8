"""`python -m hpclaunch.train.stages.quantize`: a model in fewer bits, in RUN/final.

An adapter is merged into its base first, tensor by tensor. The perplexity on rows of the run's own
data says what the fewer bits cost, where the memory holds the whole model.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.train import phases
from hpclaunch.train.stages.inputs import Weights, model_folder
from hpclaunch.train.stages.models import import_libraries, load_model, load_tokenizer
from hpclaunch.train.stages.run import StageRun, stage_program
from hpclaunch.train.stages.texts import sample

Loader = Callable[[], Any]
"""Returns the quantized model, to be measured."""


def quantize(run: StageRun) -> dict[str, Any]:
    """Write the quantized model to RUN/final; return sizes and perplexities. Raises UserError."""
    settings = run.settings
    weights = run.open(run.record.sources[0])
    import_libraries()
    from hpclaunch.train.stages import perplexity

    whole = whole_model(run, weights)
    before = _size(whole)
    tokenizer = load_tokenizer(whole)
    with run.final() as folder:
        values: dict[str, Any] = {"to": settings.to, "bytes_before": before}
        rows = _measure_before(run, whole, tokenizer, values)
        if settings.to in {"int8", "int4"}:
            return values | _compress(run, whole, tokenizer, folder, rows)
        written, loader = _write(run, whole, folder)
        values |= written
        if rows:
            phases.begin("measuring the perplexity after")
            values["perplexity_after"] = perplexity.perplexity(loader(), tokenizer, rows)
    return values


def _compress(
    run: StageRun, whole: Weights, tokenizer: Any, folder: Path, rows: list[str]
) -> dict[str, Any]:
    """Write int8 or int4, calibrated with rows of the run's training data where there are any."""
    from hpclaunch.train.stages.compress import write_compressed

    settings = run.settings
    texts: list[str] = []
    reason = ""
    if settings.to == "int4":
        source = run.record.sources[0]
        texts, reason = sample(source, tokenizer, settings.rows, validation=False)
    values = write_compressed(whole, folder, run.scratch, settings.to, texts, rows)
    return values | ({"note": f"not calibrated: {reason}"} if reason else {})


def whole_model(run: StageRun, weights: Weights) -> Weights:
    """Return the model as a folder of its own: the adapter, where there is one, merged."""
    if weights.adapter is None:
        return Weights(weights.name, str(model_folder(weights)), None, None, weights.fingerprint)
    from hpclaunch.train.stages.merge import write_merged

    folder = run.scratch / "merged"
    folder.mkdir(parents=True, exist_ok=True)
    write_merged(weights, model_folder(weights), folder)
    return Weights(weights.name, str(folder), None, None, weights.fingerprint)


def _write(run: StageRun, whole: Weights, folder: Path) -> tuple[dict[str, Any], Loader]:
    """Write the format that the settings name."""
    settings = run.settings
    if settings.to == "gguf":
        return _write_gguf(whole, folder, settings.gguf_type)
    return _write_nf4(whole, folder)


def _write_gguf(whole: Weights, folder: Path, to: str) -> tuple[dict[str, Any], Loader]:
    from hpclaunch.train.gguf_format.export import export, read_back

    path = folder / f"{whole.name}-{to}.gguf"
    values = export(Path(whole.model), path, to, whole.name)

    def load() -> Any:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(whole.model, trust_remote_code=False)
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
        state = read_back(Path(whole.model), path, to)
        missing, unknown = model.load_state_dict(state, strict=False)
        model.tie_weights()
        left = set(missing) - {"lm_head.weight"}
        if left or unknown:
            raise RuntimeError(f"{path.name} does not hold the model: {sorted(left)[:3]}")
        return model.eval()

    return values | {"type": to, "file": path.name}, load


def _write_nf4(whole: Weights, folder: Path) -> tuple[dict[str, Any], Loader]:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    phases.begin("quantizing to nf4")
    device = {"": 0} if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        whole.model,
        dtype=torch.bfloat16,
        use_safetensors=True,
        trust_remote_code=False,
        quantization_config=config,
        device_map=device,
    ).eval()
    model.save_pretrained(folder)
    load_tokenizer(whole).save_pretrained(folder)
    size = _size(Weights(whole.name, str(folder), None, None, ""))
    files = len(list(folder.glob("*.safetensors")))
    return {"bytes": size, "files": files, "type": "nf4"}, lambda: model


def _measure_before(
    run: StageRun, whole: Weights, tokenizer: Any, values: dict[str, Any]
) -> list[str]:
    """Return the texts to measure on, none where that cannot be; add the perplexity to `values`."""
    from hpclaunch.train.stages import compare, perplexity

    if not run.settings.perplexity:
        values["not_measured"] = "--no-perplexity"
        return []
    source = run.record.sources[0]
    rows, reason = sample(source, tokenizer, perplexity.TEXTS, validation=True)
    reason = reason or compare.no_room(Path(whole.model))
    if reason:
        values["not_measured"] = reason
        return []
    phases.begin("measuring the perplexity before")
    model = load_model(whole, len(tokenizer))
    values["perplexity_before"] = perplexity.perplexity(model, tokenizer, rows)
    values["texts"] = len(rows)
    del model
    gc.collect()
    return rows


def _size(weights: Weights) -> int:
    size = sum(path.stat().st_size for path in Path(weights.model).glob("*.safetensors"))
    if not size:
        raise UserError(f"{weights.model} has no *.safetensors")
    return size


if __name__ == "__main__":
    stage_program(quantize, quantized=True)
