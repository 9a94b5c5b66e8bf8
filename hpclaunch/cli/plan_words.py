"""Layouts, verdicts and gains of a plan in words, for the plan's pages and for submissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpclaunch.predict.compare import Candidate
from hpclaunch.predict.estimate import SAFE, Estimate
from hpclaunch.predict.memory import GIB
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.units import UNKNOWN, count, duration, size

if TYPE_CHECKING:
    from hpclaunch.cli.terminal import Style
    from hpclaunch.forecast.auto import AutoGain

SHARDINGS = {
    "full": "FULL_SHARD (ZeRO-3)",
    "grad": "SHARD_GRAD_OP (ZeRO-2)",
    "hybrid": "HSDP (hybrid)",
    "none": "DDP",
}
"""Names of the recipe's values of `fsdp.sharding`."""


def sharding_words(sharding: str, *, deepspeed: bool = False) -> str:
    """Return the name of a value of `fsdp.sharding`. `deepspeed`: of DeepSpeed's stage of it."""
    name = SHARDINGS[sharding]
    return f"DeepSpeed {name.partition('(')[2].rstrip(')')}" if deepspeed else name


def gib(number: float | None) -> str:
    """Return bytes in GiB, small ones in MiB."""
    if number is None:
        return UNKNOWN
    return f"{number / GIB:.1f} GiB" if number > 0.1 * GIB else f"{number / 2**20:.0f} MiB"


def batch(layout: Candidate) -> str:
    """Return the per-device batch size and the gradient accumulation steps of a layout."""
    return f"batch {layout.micro_batch_size}, accumulation {layout.gradient_accumulation_steps}"


def verdict(made: Estimate) -> str:
    """Return in one line whether it fits."""
    need = f"needs {gib(max(made.memory.total, made.loading_bytes))} per GPU"
    if made.usable_bytes is None:
        return f"{need}; the GPU type is unknown"
    usable = f"{gib(SAFE * made.usable_bytes)} usable"
    if made.fits_host is False:
        return f"does not fit: {host_need(made)}"
    if made.fits:
        return f"fits: {need} of {usable}"
    if made.loading_bytes > SAFE * made.usable_bytes and not made.training.sharded_loading:
        return (
            "does not fit: each GPU quantizes the whole model while it loads, "
            f"{gib(made.loading_bytes)} of {usable}"
        )
    if made.longest_sample_tokens is None:
        return f"does not fit: {need} of {usable}"
    return (
        f"does not fit at {count(made.training.seq_len)} tokens; up to "
        f"{count(made.longest_sample_tokens)} do: {need} of {usable}"
    )


def host_need(made: Estimate) -> str:
    """Return what the ranks of a node need of its memory, and what they get."""
    ranks = made.training.ranks_per_node
    whose = "the rank of a node needs" if ranks == 1 else f"the {ranks} ranks of a node need"
    loading = made.host.loading >= made.host.training
    why = " for the shards that are offloaded"
    if loading and made.training.sharded_loading:
        why = " while the model is loaded"
    elif loading:
        kind = "in fp32" if made.training.method == "full" else "in its own memory"
        why = f" while the model is loaded, each of it whole {kind}"
    return (
        f"{whose} {size(made.host.peak)} of its memory{why}, and a job gets "
        f"{size(made.node_memory_bytes or 0)}"
    )


def verdict_style(made: Estimate) -> Style:
    """Return the colour of the verdict: of what fits, fits shorter samples, does not fit."""
    if made.fits is None:
        return ""
    return "good" if made.fits else "bad"


def gain_text(gain: AutoGain) -> str:
    """Return in a line what `--sharding auto` would bring."""
    words, lay = " ".join(gain.arguments), gain.choice.candidate
    step, most = gain.choice.estimate.step, gain.choice.estimate.certain_seconds
    seconds = None if step is None else step.seconds
    what = f"{words}: {layout_text(lay)}, step time {duration(seconds)}"
    what += f" ({duration(most)} at most)" if most and seconds and most > 1.01 * seconds else ""
    if gain.factor is None:
        return f"{what}, fits"
    return f"{what}, {gain.factor:.{0 if gain.factor >= 10 else 1}f} times as fast"


def gpu_hours(made: Estimate) -> str:
    """Return the GPU-hours to the end, and which of them are a server's."""
    if made.gpu_hours is None or made.server_gpu_hours is None:
        return f"{made.server_gpus} GPUs more on the server's node" if made.server_gpus else UNKNOWN
    if not made.server_gpus:
        return f"{made.gpu_hours:,.1f} GPU-hours"
    return f"{made.gpu_hours:,.1f} GPU-hours, {made.server_gpu_hours:,.1f} of the server's node"


def recomputed(step: TrainingStep) -> str:
    """Return what the backward pass computes again, where that is not whole layers."""
    if step.activation_checkpointing:
        every = step.every_n_layers
        return f", activation checkpointing of every {every} layers" if every > 1 else ""
    if step.recomputed_mlps:
        return ", activation checkpointing of gate and up in MLPs"
    return ", no activation checkpointing"


def layout_text(lay: Candidate, own: Candidate | None = None) -> str:
    """Return a layout in words: sharding, batch, and what is unusual about it.

    With the recipe's `own` layout, also what is usual and differs from that.
    """
    words = [sharding_words(lay.sharding, deepspeed=lay.deepspeed), batch(lay)]
    if lay.level == "mlp":
        words.append("activation checkpointing of gate and up")
    elif lay.level == "none":
        words.append("no activation checkpointing")
    elif own is not None and own.level != "whole":
        words.append("activation checkpointing")
    if lay.offload:
        words.append("CPU offload")
    elif own is not None and own.offload:
        words.append("no CPU offload")
    return ", ".join(words)
