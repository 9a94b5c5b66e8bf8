"""Predicted steps against those of this program on one H200, to which nothing was fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpclaunch.predict.families import architecture
from hpclaunch.predict.known_models import known_config
from hpclaunch.predict.step_time import Hardware
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.schema import MethodKind
from tests.predict.published import qwen
from tests.predict.test_step_time import ALONE, timed

EIGHT = architecture(known_config("meta-llama/Llama-3.1-8B") or {})
H200 = Hardware(1, 1, 989, 4800, None, None, multiprocessors=132)
OURS = [
    ("LoRA, batch 1, activation checkpointing", "lora", 1, True, 4.60, 0.12),
    ("QLoRA, batch 1, activation checkpointing", "qlora", 1, True, 5.53, 0.25),
    ("LoRA, batch 2, no activation checkpointing", "lora", 2, False, 5.83, 0.05),
]
"""Steps of this program on one H200, and within which share they are predicted; not fitted to."""


@pytest.mark.parametrize(("name", "method", "samples", "checkpointing", "told", "within"), OURS)
def test_steps_of_our_own_on_one_h200(
    name: str, method: MethodKind, samples: int, checkpointing: bool, told: float, within: float
) -> None:
    """Llama 3.1 8B under FSDP with one rank, 4,096 tokens: docs/evidence/gpu.md."""
    load = TrainingStep(
        EIGHT, method, EIGHT.adapter_parameters(16), "full", 1, samples, 4096, checkpointing,
        gradient_accumulation_steps=8,
    )  # fmt: skip
    seconds = timed(load, 1, H200).seconds
    assert seconds is not None
    assert seconds == pytest.approx(told, rel=within)
    page = (Path(__file__).parents[2] / "docs/evidence/gpu.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    assert f"| {told:.2f} s | {seconds:.2f} s ({seconds / told - 1:+.0%};" in row


def test_a_micro_step_without_trainer_on_one_h200() -> None:
    """A plain loop with adapters under autocast, 580 ms: the same page."""
    load = TrainingStep(EIGHT, "lora", EIGHT.adapter_parameters(16), "none", 1, 1, 4096, True)
    assert timed(load, 1, H200).compute == pytest.approx(0.580, rel=0.03)


def test_kernels_that_cast_do_not_reach_a_fast_memorys_rate() -> None:
    """On an A100 no bound matters; on a GPU of the same make with twice the bandwidth it does."""
    load = qwen("7B", 4096)
    for rate, bound in ((2039, False), (4800, True)):
        free = replace(ALONE, memory_gb_s=rate, multiprocessors=None)
        held = replace(free, multiprocessors=132)
        slower = timed(load, 1, held).compute > 1.005 * timed(load, 1, free).compute
        assert slower == bound
