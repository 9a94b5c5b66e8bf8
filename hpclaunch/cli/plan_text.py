"""How a forecast is written for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hpclaunch.cli.text import rows
from hpclaunch.forecast.forecast import Forecast
from hpclaunch.predict.compare import Choice, compare
from hpclaunch.predict.estimate import SAFE, Estimate
from hpclaunch.predict.memory import GIB
from hpclaunch.run.record import Record
from hpclaunch.units import UNKNOWN, count, duration, size

if TYPE_CHECKING:
    from hpclaunch.diagnose.progress import Progress

SHOWN = 8
"""Layouts of a comparison that a person is shown."""
SHARDINGS = {
    "full": "full shard",
    "grad": "gradient shard",
    "hybrid": "hybrid shard",
    "none": "no shards",
}


def gib(number: float | None) -> str:
    """Return bytes in GiB."""
    if number is None:
        return UNKNOWN
    return f"{number / GIB:.1f} GiB" if number > 0.1 * GIB else f"{number / 2**20:.0f} MiB"


def render_forecast(made: Forecast, simulated: Any = None, limit: str | None = None) -> str:
    """Return the whole forecast as text."""
    lines = [("model", _model(made)), ("machines", _machines(made)), ("layout", _layout(made))]
    lines += [("verdict", verdict(made.estimate))]
    parts = [rows(lines), rows(_memory_rows(made, simulated)), rows(_time_rows(made, limit))]
    notes = [("measured", each) for each in made.basis.measured]
    notes += [("assumed", each) for each in made.basis.assumed]
    notes += [("unknown", each) for each in made.unknown]
    return "\n\n".join([*parts, rows(notes)] if notes else parts)


def verdict(made: Estimate) -> str:
    """Say in a line whether it fits."""
    need = f"needs {gib(made.memory.total)} a GPU"
    if made.usable_bytes is None:
        return f"{need}; the card is not known"
    if made.fits:
        return f"fits: {need} of {gib(SAFE * made.usable_bytes)} usable"
    if made.loading_bytes > SAFE * made.usable_bytes:
        return (
            "does not fit: each GPU quantizes the whole model while it loads, "
            f"{gib(made.loading_bytes)} of {gib(SAFE * made.usable_bytes)} usable"
        )
    if made.longest_sample_tokens is None:
        return f"does not fit: {need}, and the card has {gib(SAFE * made.usable_bytes)} usable"
    return (
        f"fits samples of up to {count(made.longest_sample_tokens)} tokens; at "
        f"{count(made.training.seq_len)} it {need} of {gib(SAFE * made.usable_bytes)} usable"
    )


def short(made: Forecast) -> str:
    """Return the forecast in a line, for those who are about to submit."""
    step = made.estimate.step
    said = [verdict(made.estimate)]
    if step is not None and step.seconds is not None:
        said.append(f"{duration(step.seconds)} a step at full length")
    if made.estimate.seconds is not None:
        said.append(f"{duration(made.estimate.seconds)} in all")
    load, lay = made.estimate.training, made.candidate
    how = SHARDINGS["none" if load.sharding == "none" else lay.sharding]
    said.append(
        f"{how}, micro-batches of {lay.micro_batch_size}, {lay.gradient_accumulation_steps} a step"
    )
    return "; ".join(said)


def predicted_rows(record: Record, progress: Progress) -> list[tuple[str, str]]:
    """Hold what was predicted of a run against what was measured."""
    prediction = record.prediction
    if prediction is None:
        return []
    lines = [("memory", f"{gib(progress.allocated)} of tensors on the fullest GPU at most, "
                        f"{gib(prediction.tensors)} predicted")]  # fmt: skip
    if prediction.step_seconds is not None:
        measured = duration(progress.seconds_per_step)
        predicted = duration(prediction.step_seconds)
        lines.append(("step", f"{measured}, {predicted} predicted for samples of full length"))
    return lines


def render_layouts(made: Forecast) -> str:
    """Return the layouts that fit as a table, the fastest first."""
    if made.gpu is None or made.hardware is None:
        return "layouts     unknown: tell the GPU by --gpu"
    now, fitting = compare(made.training, made.candidate, made.workload, made.gpu, made.hardware)
    shown = _distinct(fitting)[:SHOWN]
    if not shown:
        return "layouts     none fits; take larger cards, more of them, or --method qlora"
    lines: list[tuple[str, ...]] = [("layout", "a GPU", "a step", "tokens/s", "why")]
    for each in shown:
        lines.append(_row(each, each.candidate == made.candidate))
    if all(each.candidate != made.candidate for each in shown):
        lines.append(_row(now, True))
    text = table(lines)
    best = shown[0].candidate
    if best != made.candidate:
        text += "\n\nto take the first: " + " ".join(best.arguments)
    return text + _with_qlora(made)


def _with_qlora(made: Forecast) -> str:
    """Offer 4-bit weights for a LoRA, which are not the same thing: never taken unasked."""
    if made.training.method != "lora" or made.gpu is None or made.hardware is None:
        return ""
    smaller = replace(made.training, method="qlora")
    _, fitting = compare(smaller, made.candidate, made.workload, made.gpu, made.hardware)
    if not fitting or fitting[0].candidate.offload:
        return ""
    best, lay = fitting[0], fitting[0].candidate
    step = best.estimate.step
    return (
        f"\nwith --method qlora (weights in 4 bits): {SHARDINGS[lay.sharding]}, "
        f"{lay.micro_batch_size} x {lay.gradient_accumulation_steps}, "
        f"{gib(best.estimate.memory.total)}, "
        f"{duration(step.seconds if step else None)} a step"
    )


def _distinct(choices: Sequence[Choice]) -> list[Choice]:
    """Leave out layouts that are as fast as one before them and need more."""
    kept: list[Choice] = []
    for each in choices:
        if not any(_same(each, other) for other in kept):
            kept.append(each)
    return kept


def _same(one: Choice, other: Choice) -> bool:
    key = (one.candidate.sharding, one.candidate.activation_checkpointing, one.candidate.offload)
    return key == (
        other.candidate.sharding,
        other.candidate.activation_checkpointing,
        other.candidate.offload,
    )


def _row(choice: Choice, now: bool) -> tuple[str, ...]:
    step, lay = choice.estimate.step, choice.candidate
    name = f"{SHARDINGS[lay.sharding]}, {lay.micro_batch_size} x {lay.gradient_accumulation_steps}"
    name += "" if lay.activation_checkpointing else ", no recomputing"
    name += ", offload" if lay.offload else ""
    speed = None if step is None else step.tokens_per_second_per_gpu
    return (
        ("* " if now else "  ") + name,
        gib(choice.estimate.memory.total),
        UNKNOWN if step is None else duration(step.seconds),
        count(speed),
        choice.reason or verdict(choice.estimate),
    )


def table(lines: Sequence[tuple[str, ...]]) -> str:
    """Return rows in columns; the numbers between first and last to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) - 1)]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=True)]
        text.append("  ".join([*cells, line[-1]]).rstrip())
    return "\n".join(text)


def _model(made: Forecast) -> str:
    recipe, model = made.request.recipe, made.model
    number = made.estimate.training.trained_parameters
    share = f"{count(number)} of them trained" if recipe.method.kind != "full" else "all trained"
    return f"{recipe.model.name}: {count(model.parameters)} weights, {share} ({recipe.method.kind})"


def _machines(made: Forecast) -> str:
    asked = made.request
    kind = made.gpu.name if made.gpu else "GPU of unknown kind"
    return f"{asked.nodes} node{'s' * (asked.nodes > 1)} x {asked.gpus_per_node} {kind}"


def _layout(made: Forecast) -> str:
    load, lay = made.estimate.training, made.candidate
    how = SHARDINGS["none"] if load.sharding == "none" else SHARDINGS[lay.sharding]
    spread = f" over {load.shards} GPUs" if load.sharding != "none" else ""
    recompute = "" if lay.activation_checkpointing else ", nothing recomputed"
    number = lay.gradient_accumulation_steps
    return (
        f"{how}{spread}, {lay.micro_batch_size} x {count(load.seq_len)} tokens a GPU at "
        f"once, {number} time{'s' * (number > 1)} a step{recompute}"
    )


def _memory_rows(made: Forecast, simulated: Any) -> list[tuple[str, str]]:
    held = made.estimate.memory
    parts = [
        ("weights", held.weights),
        ("4-bit scales", held.scales),
        ("gradients", held.gradients),
        ("optimizer", held.optimizer),
        ("activations", held.activations),
        ("put together", held.unsharded),
        ("allocator", held.allocator),
        ("CUDA, NCCL", held.context),
    ]
    lines = [("memory", f"{name:<14}{gib(part):>10}") for name, part in parts if part]
    lines.append(("", f"{'in all':<14}{gib(held.total):>10}   at most, {held.phase}"))
    if simulated is not None:
        lines.append(("", f"{'simulated':<14}{gib(simulated):>10}   tensors, where the form says "
                      f"{gib(held.tensors)}"))  # fmt: skip
    if made.estimate.usable_bytes is not None:
        lines.append(("", f"{'usable':<14}{gib(SAFE * made.estimate.usable_bytes):>10}"))
    return lines


def _time_rows(made: Forecast, limit: str | None) -> list[tuple[str, str]]:
    step, whole = made.estimate.step, made.estimate
    lines = []
    if step is not None:
        lines.append(("step", f"{duration(step.seconds)}: computing {duration(step.compute)}, "
                      f"waiting for others {duration(step.exposed_communication)}, optimizer "
                      f"{duration(step.optimizer)}"))  # fmt: skip
        if step.waits_for_launches:
            lines.append(("", f"{duration(step.launch_wait)} of the computing waits for kernels to "
                          "be launched: larger micro-batches cost little more"))  # fmt: skip
        peak = UNKNOWN if step.mfu is None else f"{step.mfu:.0%}"
        lines.append(
            ("speed", f"{count(step.tokens_per_second_per_gpu)} tokens/s a GPU, {peak} of its peak")
        )
        steps = f"{count(whole.steps)} steps, "
        lines.append(("time", f"{steps if whole.steps else ''}{duration(whole.seconds)}"))
        if whole.gpu_hours is not None:
            lines.append(("", f"{whole.gpu_hours:,.1f} GPU-hours"))
        if limit and whole.seconds is not None:
            lines.append(("", _allocations(whole.seconds, limit)))
    lines.append(("checkpoint", f"{size(whole.checkpoint_bytes)}, {_saving(made)}"))
    lines.append(("host", f"{size(whole.host_bytes)} of a node's memory while the model is loaded"))
    return lines


def _saving(made: Forecast) -> str:
    """Say how long a checkpoint takes, and how often there is one."""
    every = made.request.recipe.checkpoints.every_steps
    often = f"every {every} steps" if every else "not asked for"
    if made.checkpoint_rate is None or made.checkpoint_seconds is None:
        return f"{often}; how long it takes is unknown until a run here has saved one as large"
    pace = f"{made.checkpoint_rate.gb_s:.2g} GB/s, as run {made.checkpoint_rate.run} wrote"
    return f"{duration(made.checkpoint_seconds)} ({pace}), {often}"


def _allocations(seconds: float, limit: str) -> str:
    from hpclaunch.plan.slurm_time import seconds_of

    number = -(-seconds // seconds_of(limit))
    return f"{number:.0f} job{'s' * (number > 1)} of {limit}"
