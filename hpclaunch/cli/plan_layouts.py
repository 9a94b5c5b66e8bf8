"""The comparison of layouts as text: `hpclaunch plan --compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpclaunch.cli.plan_text import SHARDINGS, batch, gib, verdict
from hpclaunch.cli.terminal import fold, width
from hpclaunch.cli.text import table
from hpclaunch.forecast.forecast import Forecast
from hpclaunch.predict.compare import Choice, compare
from hpclaunch.units import UNKNOWN, count, duration

SHOWN = 8
"""Layouts of a comparison that a person is shown."""


def render_layouts(made: Forecast) -> str:
    """Return the layouts that fit as a table, the fastest first."""
    if made.gpu is None or made.hardware is None:
        return "layouts     unknown: name the GPU type with --gpu"
    now, fitting = compare(made.training, made.candidate, made.workload, made.gpu, made.hardware)
    shown = _distinct(fitting)[:SHOWN]
    if not shown:
        return "layouts     none fits; use larger GPUs, more of them, or --method qlora"
    lines: list[tuple[str, ...]] = [("layout", "memory/GPU", "step time", "tokens/s/GPU", "why")]
    for each in shown:
        lines.append(_row(each, each.candidate == made.candidate))
    if all(each.candidate != made.candidate for each in shown):
        lines.append(_row(now, True))
    notes = ["* the layout of this recipe"]
    best = shown[0].candidate
    if best != made.candidate:
        notes.append("for the first layout add: " + " ".join(best.arguments))
    notes += _with_qlora(made)
    return "\n".join([table(lines), "", *(part for note in notes for part in fold(note, width()))])


def _with_qlora(made: Forecast) -> list[str]:
    """Return a line on 4-bit weights for a LoRA: another method, so never chosen unasked."""
    if made.training.method != "lora" or made.gpu is None or made.hardware is None:
        return []
    smaller = replace(made.training, method="qlora")
    _, fitting = compare(smaller, made.candidate, made.workload, made.gpu, made.hardware)
    if not fitting or fitting[0].candidate.offload:
        return []
    best = fitting[0]
    step = best.estimate.step
    return [
        f"with --method qlora (weights in 4 bits): {SHARDINGS[best.candidate.sharding]}, "
        f"{batch(best.candidate)}, {gib(best.estimate.memory.total)} per GPU, step time "
        f"{duration(step.seconds if step else None)}"
    ]


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
    name = f"{SHARDINGS[lay.sharding]}, {batch(lay)}"
    name += "" if lay.activation_checkpointing else ", no activation checkpointing"
    name += ", CPU offload" if lay.offload else ""
    return (
        ("* " if now else "  ") + name,
        gib(choice.estimate.memory.total),
        UNKNOWN if step is None else duration(step.seconds),
        count(None if step is None else step.tokens_per_second_per_gpu),
        choice.reason or verdict(choice.estimate),
    )
