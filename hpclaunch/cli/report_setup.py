"""Who ran what, where and how: the rows of a report that come from run.json and the recipe."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hpclaunch.secrets import mask
from hpclaunch.units import count, duration

if TYPE_CHECKING:
    from hpclaunch.recipe.schema import Data, Recipe
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record

Row = tuple[str, str]
_METHODS = {"full": "full fine-tuning", "lora": "LoRA", "qlora": "QLoRA"}


def setup_rows(
    folder: RunFolder, record: Record, events: Sequence[Mapping[str, Any]]
) -> tuple[Row, ...]:
    """Return labels and texts on a run's setup, in the order to show; unknown rows left out."""
    recipe = None if record.program else _recipe(folder)
    rows = [] if recipe is None else _recipe_rows(record, recipe)
    if folder.completions.is_file():
        rows.append(("completions", str(folder.completions)))
    if record.program and not record.stage:
        rows.append(("program", shlex.join(record.program)))
    rows.append(("layout", _layout(record, recipe)))
    rows += [] if recipe is None else _batch_rows(record, recipe)
    job = "on this machine, without Slurm" if record.mode == "local" else record.job_id or "none"
    rows += [
        ("site", record.site),
        ("job", f"{job} ({record.mode})" if record.job_id else job),
        ("started by", f"{record.user} on {record.host}, {_when(record.created)}"),
    ]
    if (seconds := _wall_time(events)) is not None:
        rows.append(("wall time", f"{duration(seconds)}, from the first event to the last"))
    rows.append(("versions", _versions(record, events)))
    rows.append(("command", shlex.join(record.command)))
    return tuple((label, mask(text)) for label, text in rows)


def _recipe(folder: RunFolder) -> Recipe | None:
    from hpclaunch.errors import UserError
    from hpclaunch.recipe.load import load

    try:
        return load(str(folder.recipe))
    except (UserError, OSError, ValueError):
        return None


def _recipe_rows(record: Record, recipe: Recipe) -> list[Row]:
    from hpclaunch.recipe.objectives import DEFAULT_OBJECTIVE

    model, data, method = recipe.model, recipe.data, recipe.method
    text = _METHODS[method.kind]
    if method.kind != "full":
        text += f", rank {method.lora.r}, alpha {method.lora.lora_alpha}"
    if method.kind == "qlora":
        text += f", {method.quantization.type}"
    objective = "" if method.objective == DEFAULT_OBJECTIVE else f"{method.objective}, "
    rewards = ", ".join(method.grpo.rewards) if recipe.objective_spec.writes_completions else ""
    return [
        ("model", f"{_at(model.name, model.revision)}, {model.dtype}"),
        ("method", f"{objective}{text}"),
        *([("rewards", rewards)] if rewards else []),
        ("data", _data_text(data)),
        ("recipe", record.recipe),
    ]


def _data_text(data: Data) -> str:
    """Return what was trained on: the dataset and its split, or all of them with their weights."""
    if not data.sources:
        return f"{_at(data.name, data.revision)}, {data.split}"
    parts = (
        f"{_at(source.name, source.revision)}, {source.split}"
        + (f" x {source.weight:g}" if source.weight != 1 else "")
        for source in data.sources
    )
    return "; ".join(parts)


def _at(name: str, revision: str | None) -> str:
    return name if revision is None else f"{name}@{revision}"


def _layout(record: Record, recipe: Recipe | None) -> str:
    each, nodes = record.processes_per_node, record.nodes
    what = "GPU" if record.device == "gpu" else "process"
    plural = {"GPU": "GPUs", "process": "processes"}[what] if each != 1 else what
    text = f"{nodes} node{'s' * (nodes != 1)} x {each} {plural}"
    if record.gpu is not None:
        text += f" ({record.gpu})"
    if record.server_nodes:
        text += f", and {record.server_nodes} with the server that writes completions"
    if recipe is None:
        return text
    from hpclaunch.cli.plan_words import sharding_words

    fsdp = recipe.fsdp
    deepspeed = fsdp.engine == "deepspeed"
    sharding = sharding_words(fsdp.sharding, deepspeed=deepspeed)
    if fsdp.sharding != "none" and not deepspeed:
        sharding += f", FSDP {fsdp.version}" + (", CPU offload" if fsdp.offload else "")
    if fsdp.context_parallel > 1:
        sharding += f", {fsdp.context_parallel} ranks share each sequence (context parallel)"
    return f"{text}, {sharding}"


def _batch_rows(record: Record, recipe: Recipe) -> list[Row]:
    from hpclaunch.recipe.levers import LEVERS, switched_on
    from hpclaunch.recipe.training import DEFAULTS

    training = {**DEFAULTS, **recipe.training}
    batch, steps = (
        training.get(name)
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    if not isinstance(batch, int) or not isinstance(steps, int):
        return []
    ranks = record.nodes * record.processes_per_node
    whole = batch * steps * ranks // recipe.fsdp.context_parallel
    text = f"batch {batch}, accumulation {steps}: global batch {count(whole)}"
    length = training.get("max_length")
    if isinstance(length, int):
        text += f", samples of {count(length)} tokens at most"
    if training.get("gradient_checkpointing"):
        every = recipe.performance.every_n_layers
        text += "; activation checkpointing" + f" of every {every} layers" * (every > 1)
    text += "".join(f"; {LEVERS[key].words}" for key in switched_on(recipe.performance))
    return [("batch", text)]


def _wall_time(events: Iterable[Mapping[str, Any]]) -> float | None:
    times = [e["time"] for e in events if isinstance(e.get("time"), int | float)]
    return max(times) - min(times) if len(times) > 1 else None


def _versions(record: Record, events: Iterable[Mapping[str, Any]]) -> str:
    """The launcher's, and those that the newest attempt reported of its libraries."""
    texts = [f"hpclaunch {record.hpclaunch}"]
    starts = [e for e in events if e.get("event") == "start"]
    known = starts[-1].get("versions") if starts else None
    if isinstance(known, Mapping):
        texts += [f"{name} {version}" for name, version in known.items()]
    return ", ".join(texts)


def _when(created: float) -> str:
    try:
        return datetime.fromtimestamp(created).astimezone().isoformat(" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "unknown time"
