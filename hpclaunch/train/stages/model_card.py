"""The card of a published model: what the run folder knows of it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpclaunch.document import dump
from hpclaunch.recipe.mixture import parts_of
from hpclaunch.recipe.paths import is_local
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.events import newest
from hpclaunch.secrets import mask
from hpclaunch.units import count, size

_METHODS = {"full": "all weights", "lora": "LoRA", "qlora": "QLoRA (the base in 4 bits)"}
_MOST = 1e18
"""No number here is larger; what claims to be is damage."""
SETTINGS = (
    "num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps",
    "warmup_ratio", "weight_decay", "max_grad_norm", "optim", "max_length", "packing", "seed",
)  # fmt: skip
"""Fields of `training` that a card names, where the recipe sets them."""


@dataclass(frozen=True)
class Facts:
    """What is known of a model; what is not is empty."""

    name: str
    recipe: Recipe | None = None
    events: Sequence[Mapping[str, Any]] = ()
    """Of the training."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Of its report: `gpu_hours`, `energy_kwh`, whether the energy was counted."""
    ranks: int | None = None
    gpu: str | None = None
    """Type of its GPUs."""
    stages: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """What was made of the weights since, the first one first: `merge`, `quantize`."""
    evaluations: Sequence[tuple[str, str]] = ()
    """Task and result."""
    base: str = ""
    """Of an adapter, or of a model that is no run's: the model itself."""
    adapter: bool = False
    license: str = ""
    hpclaunch: str = ""


def model_card(facts: Facts) -> str:
    """Return the text of README.md: a YAML head for the hub, and sections of what is known."""
    parts = [f"---\n{dump(_head(facts))}---\n", f"# {_plain(facts.name)}\n"]
    for title, rows in (
        ("Model", _model_rows(facts)),
        ("Data", _data_rows(facts)),
        ("Training", _training_rows(facts)),
        ("Results", _result_rows(facts)),
        ("Cost", _cost_rows(facts)),
        ("Versions", _version_rows(facts)),
    ):
        found = [(label, text) for label, text in rows if text]
        if found:
            lines = "\n".join(f"| {label} | {_cell(text)} |" for label, text in found)
            parts.append(f"## {title}\n\n| | |\n|---|---|\n{lines}\n")
    parts.append(
        "This card was written by hpclaunch from the folder of the run. It says what is recorded "
        "there; intended use, limits and risks are not.\n"
    )
    return mask("\n".join(parts))


def _head(facts: Facts) -> dict[str, Any]:
    head: dict[str, Any] = {}
    if facts.license:
        head["license"] = facts.license
    base = facts.recipe.model.name if facts.recipe else facts.base
    if base and not is_local(base) and not base.startswith("builtin:"):
        head["base_model"] = base
    parts = parts_of(facts.recipe.data) if facts.recipe else ()
    used = dict.fromkeys(part.data.name for part in parts)
    public = [name for name in used if not is_local(name) and not name.startswith("builtin:")]
    if public:
        head["datasets"] = public
    quantized = any(name == "quantize" for name, _ in facts.stages)
    if facts.adapter:
        head["library_name"] = "peft"
    elif not quantized:
        head["library_name"] = "transformers"
    scores = facts.recipe is not None and facts.recipe.objective_spec.scores
    head["pipeline_tag"] = "text-classification" if scores else "text-generation"
    head["tags"] = ["hpclaunch", *(["lora"] if facts.adapter else [])]
    return head


def _model_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    recipe = facts.recipe
    base = recipe.model.name if recipe else facts.base
    revision = f" at {recipe.model.revision}" if recipe and recipe.model.revision else ""
    yield "base model", f"{public_name(base)}{revision}" if base else ""
    if recipe:
        yield "trained", _METHODS[recipe.method.kind]
        if recipe.method.kind != "full":
            lora = recipe.method.lora
            yield "adapter", f"rank {lora.r}, alpha {lora.lora_alpha}, dropout {lora.lora_dropout}"
            yield "adapter on", _modules(lora.target_modules)
    for name, values in facts.stages:
        if name == "merge":
            yield "merged", "the adapter is part of the weights"
        elif name == "quantize":
            yield "quantized", str(values.get("type") or values.get("to") or "")


def _modules(modules: str | list[str]) -> str:
    return modules if isinstance(modules, str) else ", ".join(modules)


def _data_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.recipe is None:
        return
    for data, weight in parts_of(facts.recipe.data):
        revision = f" at {data.revision}" if data.revision else ""
        subset = f", {data.subset}" if data.subset else ""
        often = f", each row {weight:g} times" if weight != 1 else ""
        yield "data", f"{public_name(data.name)}{subset}{revision}, split {data.split}{often}"
    seen = newest([dict(event) for event in facts.events], "data") or {}
    yield "samples", _count(seen.get("samples"))
    yield "tokens of an epoch", _count(seen.get("tokens"))


def _training_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.recipe is None:
        return
    yield "objective", facts.recipe.objective
    load = newest([dict(event) for event in facts.events], "load") or {}
    yield "parameters", _count(load.get("parameters"))
    yield "trained parameters", _count(load.get("trainable"))
    step = newest([dict(event) for event in facts.events], "step") or {}
    yield "steps", _count(step.get("step"))
    training = facts.recipe.training
    batch = training.get("per_device_train_batch_size")
    if isinstance(batch, int) and facts.ranks:
        accumulation = int(training.get("gradient_accumulation_steps") or 1)
        whole = batch * accumulation * facts.ranks
        yield "global batch size", f"{count(whole)} samples"
    limited = isinstance(training.get("max_steps"), int) and training["max_steps"] > 0
    for name in SETTINGS:
        value = None if limited and name == "num_train_epochs" else training.get(name)
        yield name, "" if value is None else str(value)
    yield "dtype", facts.recipe.model.dtype


def _result_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    losses = [
        value
        for event in facts.events
        if event.get("event") == "step" and (value := _number(event.get("loss"))) is not None
    ]
    if losses:
        yield "training loss", f"{losses[-1]:.4f} at the end, {losses[0]:.4f} at first"
    evaluated = [
        value
        for event in facts.events
        if event.get("event") == "eval" and (value := _number(event.get("loss"))) is not None
    ]
    if evaluated:
        yield "validation loss", f"{evaluated[-1]:.4f} at the end, {min(evaluated):.4f} at best"
    for name, values in facts.stages:
        after, before = _number(values.get("perplexity_after")), values.get("perplexity_before")
        if name == "quantize" and after is not None and _number(before) is not None:
            yield "perplexity", f"{after:.4g}, {before:.4g} before it was quantized"
    yield from facts.evaluations


def _cost_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    hours = _number(facts.figures.get("gpu_hours"))
    yield "GPU-hours", f"{hours:,.2f}" if hours else ""
    yield "GPUs", f"{facts.ranks} x {facts.gpu}" if facts.gpu and facts.ranks else ""
    energy = _number(facts.figures.get("energy_kwh"))
    if energy:
        how = "counted by the GPUs" if facts.figures.get("energy_counted") else "from sampled power"
        yield "energy of the GPUs", f"{energy:,.3g} kWh, {how}"
    written = next((v for _, v in reversed(list(facts.stages)) if _number(v.get("bytes"))), None)
    if written is not None:
        yield "size", size(float(written["bytes"]))


def _version_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "hpclaunch", facts.hpclaunch
    start = newest([dict(event) for event in facts.events], "start") or {}
    versions = start.get("versions")
    for name, value in versions.items() if isinstance(versions, dict) else ():
        yield str(name), str(value)


def public_name(name: str) -> str:
    """Return a model's or dataset's name without the folders that lead to it on this machine."""
    return f"{Path(name).name} (local)" if is_local(name) else name


def _count(value: Any) -> str:
    number = _number(value)
    return "" if number is None else count(number)


def _number(value: Any) -> float | None:
    """Return a number that can be, None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST:
        return None
    return float(value)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    """Return a text that stays in its cell of a table: nothing in it is markup or a new row."""
    return _plain(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
