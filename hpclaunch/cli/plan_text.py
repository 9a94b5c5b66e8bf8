"""A forecast as text for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpclaunch.cli.plan_words import (
    batch,
    gain_text,
    gib,
    gpu_hours,
    recomputed,
    sharding_words,
    verdict,
    verdict_style,
)
from hpclaunch.cli.text import Row, rows
from hpclaunch.forecast.auto import auto_gain
from hpclaunch.forecast.forecast import Forecast
from hpclaunch.predict.estimate import SAFE, Estimate
from hpclaunch.run.record import Record
from hpclaunch.units import UNKNOWN, count, duration, size

if TYPE_CHECKING:
    from hpclaunch.diagnose.progress import Progress


def render_forecast(made: Forecast, simulated: Any = None, limit: str | None = None) -> str:
    """Return the whole forecast as text."""
    lines: list[Row] = [
        ("model", _model(made)),
        ("nodes", _nodes(made)),
        ("layout", _layout(made)),
        ("verdict", verdict(made.estimate), verdict_style(made.estimate)),
    ]
    gain = auto_gain(made)
    lines += [("faster" if gain.factor else "instead", gain_text(gain))] if gain else []
    parts = [rows(lines), rows(_memory_rows(made, simulated)), rows(_time_rows(made, limit))]
    notes: list[Row] = [("measured", each) for each in made.basis.measured]
    notes += [("assumed", each) for each in made.basis.assumed]
    notes += [("unknown", each, "warning") for each in made.unknown]
    return "\n\n".join([*parts, rows(notes)] if notes else parts)


def short(made: Forecast) -> str:
    """Return the forecast in a line, for those who are about to submit."""
    step = made.estimate.step
    parts = [verdict(made.estimate)]
    if step is not None and step.seconds is not None:
        parts.append(f"step time {duration(step.seconds)} at full length")
    if made.estimate.seconds is not None:
        parts.append(f"{duration(made.estimate.seconds)} in all")
    if made.estimate.server_gpus:
        parts.append(gpu_hours(made.estimate))
    load, lay = made.estimate.training, made.candidate
    name = "none" if load.sharding == "none" else lay.sharding
    sharding = sharding_words(name, deepspeed=lay.deepspeed)
    parts.append(f"{sharding}, {batch(lay)}{recomputed(load)}")
    return "; ".join(parts)


def predicted_rows(record: Record, progress: Progress) -> list[tuple[str, str]]:
    """Return the rows that compare what was predicted of a run with what was measured."""
    prediction = record.prediction
    if prediction is None:
        return []
    memory = (
        f"{gib(progress.peak_allocated)} of tensors at most on the fullest GPU, "
        f"{gib(prediction.tensors)} predicted"
    )
    lines = [("memory", memory)]
    if prediction.step_seconds is not None:
        measured = duration(progress.seconds_per_step)
        predicted = duration(prediction.step_seconds)
        text = f"{measured} measured, {predicted} predicted for samples of full length"
        lines.append(("step time", text))
    return lines


def _model(made: Forecast) -> str:
    recipe, model = made.request.recipe, made.model
    number = made.estimate.training.trained_parameters
    share = f"{count(number)} trainable" if recipe.method.kind != "full" else "all trainable"
    name, kind = recipe.model.name, recipe.method.kind
    return f"{name}: {count(model.parameters)} parameters, {share} ({kind})"


def _nodes(made: Forecast) -> str:
    question = made.request
    name = made.gpu.name if made.gpu else "GPUs of unknown type"
    nodes = "1 node" if question.nodes == 1 else f"{question.nodes} nodes"
    server = ", and one more for the server" * question.recipe.method.grpo.server.enabled
    return f"{nodes} of {question.gpus_per_node} {name}{server}"


def _layout(made: Forecast) -> str:
    load, lay = made.estimate.training, made.candidate
    name = "none" if load.sharding == "none" else lay.sharding
    sharding = sharding_words(name, deepspeed=lay.deepspeed)
    gpus = "1 GPU" if load.shards == 1 else f"{load.shards} GPUs"
    shards = f" over {gpus}" if load.sharding != "none" else ""
    if load.context_parallel > 1:
        shards += f", {load.context_parallel} GPUs share each sequence (context parallel)"
    whole, named = "", made.request.recipe.training.get("global_batch")
    if named is not None:
        learnt = made.workload.samples_per_step
        whole = f" (global batch {learnt}{f', not {named}' * (learnt != named)})"
    more = recomputed(load)
    more += ", CPU offload" if lay.offload else ""
    pairs = load.objective.sequences == 2
    samples = (
        f"pairs of 2 x {count(load.seq_len)}" if pairs else f"samples of {count(load.seq_len)}"
    )
    more += ", a second copy as reference model" if load.objective.reference_copy else ""
    return f"{sharding}{shards}, {batch(lay)}{whole}, {samples} tokens{more}"


def _memory_rows(made: Forecast, simulated: Any) -> list[Row]:
    memory = made.estimate.memory
    parts = [
        ("weights", memory.weights),
        ("4-bit scales", memory.scales),
        ("gradients", memory.gradients),
        ("optimizer", memory.optimizer),
        ("activations", memory.activations),
        ("unsharded", memory.unsharded),
        ("allocator", memory.allocator),
        ("CUDA, NCCL", memory.context),
    ]
    notes = {}
    if made.estimate.training.shards > 1:
        notes["4-bit scales"] = "   of all weights: FSDP shards parameters, and these are none"
    lines: list[Row] = [
        ("memory", f"{name:<14}{gib(part):>10}{notes.get(name, '')}")
        for name, part in parts
        if part
    ]
    lines.append(("", f"{'total':<14}{gib(memory.total):>10}   peak, {memory.phase}"))
    if made.estimate.loading_bytes > memory.total:
        sharded = made.estimate.training.sharded_loading
        how = "each rank quantizes its rows" if sharded else "the quantized model is sharded"
        note = f"higher still, while {how}"
        lines.append(("", f"{'loading':<14}{gib(made.estimate.loading_bytes):>10}   {note}"))
    if simulated is not None:
        note = f"of tensors; the prediction has {gib(memory.tensors)}"
        lines.append(("", f"{'simulated':<14}{gib(simulated):>10}   {note}"))
    if made.estimate.usable_bytes is not None:
        lines.append(("", f"{'usable':<14}{gib(SAFE * made.estimate.usable_bytes):>10}"))
    return lines


def _time_rows(made: Forecast, limit: str | None) -> list[Row]:
    step, whole = made.estimate.step, made.estimate
    lines: list[Row] = []
    if step is not None:
        held = whole.seconds_range
        between = f" ({duration(held[0])} to {duration(held[1])})" if held else ""
        parts = (
            f"compute {duration(step.compute)}, exposed communication "
            f"{duration(step.exposed_communication)}, optimizer {duration(step.optimizer)}"
        )
        lines.append(("step time", f"{duration(step.seconds)}{between}: {parts}"))
        if step.generation:
            text = f"{duration(step.generation)} of the compute writes completions, at least"
            lines.append(("", text))
        if step.waits_for_launches:
            text = (
                f"{duration(step.launch_wait)} of the compute is spent on kernel launches: a "
                "larger per-device batch size costs little more time"
            )
            lines.append(("", text))
        mfu = UNKNOWN if step.mfu is None else f"{step.mfu:.0%}"
        lines.append(
            ("throughput", f"{count(step.tokens_per_second_per_gpu)} tokens/s per GPU, MFU {mfu}")
        )
        steps = f"{count(whole.steps)} steps, " if whole.steps else ""
        lines.append(("total time", f"{steps}{duration(whole.seconds)}"))
        if whole.gpu_hours is not None:
            lines.append(("", gpu_hours(whole)))
        if limit and whole.seconds is not None:
            lines.append(("", _jobs(whole.seconds, limit)))
    lines.append(("checkpoint", f"{size(whole.checkpoint_bytes)}, {_saving(made)}"))
    lines.append(("host memory", _host(whole), "bad" if whole.fits_host is False else ""))
    return lines


def _host(made: Estimate) -> str:
    """Return what the ranks of a node take of its memory."""
    host = made.host
    gets = "a job gets the partition's default, unless --mem says more"
    if made.node_memory_bytes is not None:
        gets = f"a job gets {size(made.node_memory_bytes)}"
    training = made.training
    each = "each rank reads its shard" if training.sharded_loading else "each rank reads it all"
    if training.deepspeed and training.sharding == "full":
        each = "one rank reads it"
    return (
        f"{size(host.loading)} per node while the model is loaded ({each}), beside "
        f"{size(host.mapped)} of its mapped files; {size(host.training)} while it trains; {gets}"
    )


def _saving(made: Forecast) -> str:
    """Return how long a checkpoint takes, and how often one is saved."""
    every = made.request.recipe.checkpoints.every_steps
    often = f"every {every} steps" if every else "not requested"
    if made.checkpoint_rate is None or made.checkpoint_seconds is None:
        return f"{often}; its time is unknown until a run here has saved one of like size"
    rate = f"{made.checkpoint_rate.gb_s:.2g} GB/s, as in run {made.checkpoint_rate.run}"
    return f"{duration(made.checkpoint_seconds)} ({rate}), {often}"


def _jobs(seconds: float, limit: str) -> str:
    from hpclaunch.plan.slurm_time import seconds_of

    number = -(-seconds // seconds_of(limit))
    return f"{number:.0f} job{'s' * (number > 1)} of {limit}"
