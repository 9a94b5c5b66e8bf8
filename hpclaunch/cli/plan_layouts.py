"""The comparison of layouts as text: `hpclaunch plan --compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpclaunch.cli.plan_words import SHARDINGS, batch, gib, layout_text, verdict
from hpclaunch.cli.terminal import fold, width
from hpclaunch.cli.text import table
from hpclaunch.forecast.forecast import Forecast
from hpclaunch.predict.compare import Candidate, Choice, compare, fastest, in_order
from hpclaunch.units import UNKNOWN, count, duration

_HEADS = ("   layout", "memory per GPU", "step time", "tokens/s per GPU", "why")
SHOWN = 8
"""Layouts of a comparison that a person is shown."""


def render_layouts(made: Forecast) -> str:
    """Return the layouts that fit and the recipe's own as a table, the fastest first."""
    if made.gpu is None or made.hardware is None:
        return "layouts     unknown: name the GPU type with --gpu"
    now, fitting = compare(made.training, made.candidate, made.workload, made.gpu, made.hardware)
    best = fastest(fitting)
    if best is None:
        return "layouts     none fits; use larger GPUs, more of them, or --method qlora"
    shown = _distinct(fitting)[:SHOWN]
    for needed in (best, now):
        if all(each.candidate != needed.candidate for each in shown):
            shown.append(needed)
    shown.sort(key=in_order)
    lines: list[tuple[str, ...]] = [_HEADS]
    lines += [_row(each, made.candidate) for each in shown]
    notes = ["* the layout of this recipe"]
    notes += ["! does not fit"] if now.estimate.fits is False else []
    if best.candidate != made.candidate:
        which = "the first layout" if best is shown[0] else layout_text(best.candidate)
        notes.append(f"for {which} add: {' '.join(best.candidate.changes(made.candidate))}")
    notes += _with_qlora(made)
    return "\n".join([table(lines), "", *(part for note in notes for part in fold(note, width()))])


def _with_qlora(made: Forecast) -> list[str]:
    """Return a line on 4-bit weights for a LoRA: another method, so never chosen unasked."""
    training = made.training
    if training.method != "lora" or made.candidate.deepspeed:
        return []
    if made.gpu is None or made.hardware is None:
        return []
    smaller = replace(training, method="qlora")
    _, fitting = compare(smaller, made.candidate, made.workload, made.gpu, made.hardware)
    best = fastest(fitting)
    if best is None or best.candidate.offload:
        return []
    step = best.estimate.step
    return [
        f"with --method qlora (weights in 4 bits): {SHARDINGS[best.candidate.sharding]}, "
        f"{batch(best.candidate)}, {gib(best.estimate.memory.total)} per GPU, step time "
        f"{duration(step.seconds if step else None)}"
    ]


def _distinct(choices: Sequence[Choice]) -> list[Choice]:
    """Leave out layouts that are as fast as one before them and need more, or assume more."""
    kept: list[Choice] = []
    for each in choices:
        if not any(_covers(other, each) for other in kept):
            kept.append(each)
    return kept


def _covers(faster: Choice, other: Choice) -> bool:
    one, two = faster.candidate, other.candidate
    return (
        one.sharding == two.sharding
        and one.level == two.level
        and (one.offload == two.offload or not one.offload)
    )


def _row(choice: Choice, own: Candidate) -> tuple[str, ...]:
    step, made = choice.estimate.step, choice.estimate
    symbols = ("*" if choice.candidate == own else "") + ("!" if made.fits is False else "")
    return (
        f"{symbols:<2} {layout_text(choice.candidate, own)}",
        gib(made.memory.total),
        UNKNOWN if step is None else duration(step.seconds),
        count(None if step is None else step.tokens_per_second_per_gpu),
        verdict(made) if made.fits is False else choice.reason or verdict(made),
    )
