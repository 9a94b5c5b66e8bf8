"""The closed form of a step's memory against the simulated steps that simulated.jsonl holds.

Each line is a model of a few layers, stepped over tensors without values under PyTorch's memory
tracker (hpclaunch.train.simulation.simulate, torch 2.13); tests/train/test_simulate.py makes some
anew.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from hpclaunch.predict.architecture import Architecture
from hpclaunch.predict.estimate import Workload, estimate
from hpclaunch.predict.families import architecture
from hpclaunch.predict.from_recipe import training_step_of
from hpclaunch.predict.known_models import known_config
from hpclaunch.predict.memory import CONTEXT, GIB, Memory, memory
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.load import load
from tests.predict.shapes import SHAPES, load_for

SIMULATED = [
    json.loads(line) for line in (Path(__file__).parent / "simulated.jsonl").open(encoding="utf-8")
]
WITHIN = 0.03
EXPERTS_WITHIN = 0.05
"""Of mixtures of experts, of which two families were simulated."""


def name(row: dict[str, Any]) -> str:
    words = [row["model"], row["method"], row["sharding"], f"{row['shards']}x", row["length"]]
    return "-".join(map(str, [*words, row["layers"], "" if row["checkpointing"] else "all"]))


@pytest.mark.parametrize("row", SIMULATED, ids=name)
def test_the_form_agrees_with_the_simulation(row: dict[str, Any]) -> None:
    predicted = memory(load_for(row)).tensors
    within = EXPERTS_WITHIN if load_for(row).model.stacked_parameters else WITHIN
    assert predicted == pytest.approx(row["bytes"], rel=within)


@pytest.mark.parametrize(("gpus", "simulated_gib"), [(1, 20.4), (4, 6.4)])
def test_a_full_fine_tune_with_tied_embeddings(gpus: int, simulated_gib: float) -> None:
    """Llama 3.2 1B, 2,048 tokens, by tests.benchmarks.memory: both uses of the matrix bring a
    gradient, and one waits for the other."""
    shape = known_config("meta-llama/Llama-3.2-1B")
    assert shape is not None and shape["tie_word_embeddings"]
    how: Literal["none", "full"] = "none" if gpus == 1 else "full"
    load = TrainingStep(architecture(shape), "full", 0, how, gpus, 1, 2048, True)
    assert memory(load).tensors / GIB == pytest.approx(simulated_gib, rel=0.05)


def llama_70b() -> Architecture:
    return architecture(SHAPES["70b"])


def lora(shards: int, length: int, **more: Any) -> TrainingStep:
    model = llama_70b()
    return replace(
        TrainingStep(model, "lora", model.adapter_parameters(16), "full", shards, 1, length, True),
        **more,
    )


def test_torchtunes_published_peak() -> None:
    """27.6 GiB for a LoRA of 70B on 8 A100, packed to 4,096 tokens."""
    assert memory(lora(8, 4096)).tensors / GIB == pytest.approx(27.6, rel=0.05)


def test_more_ranks_and_shorter_samples_need_less() -> None:
    totals = [memory(lora(shards, 4096)).total for shards in (4, 8, 16, 64)]
    assert totals == sorted(totals, reverse=True)
    assert memory(lora(16, 1024)).total < memory(lora(16, 8192)).total
    assert (
        memory(lora(16, 4096)).total < memory(lora(16, 4096, activation_checkpointing=False)).total
    )


def test_scales_of_four_bit_weights_are_on_every_rank() -> None:
    """1.0 GB for 70B with double quantization, 4.3 without: neither is sharded."""
    once = memory(lora(16, 4096, method="qlora"))
    assert once.scales == memory(lora(4, 4096, method="qlora")).scales
    assert once.scales / 1e9 == pytest.approx(1.09, rel=0.02)
    assert memory(lora(16, 4096, method="qlora", double_quant=False)).scales > 3.9 * once.scales


def test_offload_keeps_the_shards_off_the_card() -> None:
    plain, off = memory(lora(8, 4096)), memory(lora(8, 4096, offload=True))
    assert (off.weights, off.optimizer) == (0, 0)
    assert off.total < plain.total - plain.weights


def test_the_parts_make_the_whole() -> None:
    held = memory(lora(16, 4096, method="qlora"))
    parts = (held.weights, held.scales, held.gradients, held.optimizer, held.activations)
    assert sum(parts) + held.unsharded == held.tensors
    assert held.total == held.tensors + held.allocator + held.context


@pytest.mark.parametrize(
    ("method", "samples", "checkpointing", "measured_gib", "within"),
    [
        ("lora", 1, True, 17.99, 0.01),
        ("lora", 2, False, 62.26, 0.01),
    ],
)
def test_one_rank_under_fsdp_as_measured_on_an_h200(
    method: Literal["lora"], samples: int, checkpointing: bool, measured_gib: float, within: float
) -> None:
    """Llama 3.1 8B, 4,096 tokens: what PyTorch's allocator counted, docs/evidence/gpu.md."""
    model = architecture(known_config("meta-llama/Llama-3.1-8B") or {})
    load = TrainingStep(
        model, method, model.adapter_parameters(16), "full", 1, samples, 4096, checkpointing
    )
    assert memory(load).tensors / GIB == pytest.approx(measured_gib, rel=within)


def test_qlora_is_there_twice_while_fsdp_shards_it() -> None:
    """Llama 3.1 8B on one H200: 10.68 GiB at the peak, which lay before the first step."""
    model = architecture(known_config("meta-llama/Llama-3.1-8B") or {})
    load = TrainingStep(model, "qlora", model.adapter_parameters(16), "full", 1, 1, 4096, True)
    work = Workload(samples=64, epochs=1, max_steps=8, samples_per_step=8)
    loading = estimate(load, 1, work, None, None).loading_bytes
    assert (loading - CONTEXT) / GIB == pytest.approx(10.68, rel=0.01)
    assert loading > memory(load).total


def test_sharded_loading_of_4_bit_weights_takes_hardly_more_than_they_do() -> None:
    """70B over 4 ranks: at most 1.15 of what the rank then holds of the model."""
    model = architecture(SHAPES["70b"])
    adapter = model.adapter_parameters(16)
    step = TrainingStep(model, "qlora", adapter, "full", 4, 1, 4096, True, sharded_loading=True)
    work = Workload(samples=64, epochs=1, max_steps=8, samples_per_step=8)
    held = memory(step).weights + memory(step).scales
    assert held < estimate(step, 1, work, None, None).loading_bytes - CONTEXT < 1.15 * held
    offloaded = estimate(replace(step, offload=True), 1, work, None, None).loading_bytes
    assert offloaded - CONTEXT < 0.2 * held


def test_adapters_in_bf16_take_half_of_what_they_take_in_fp32() -> None:
    def load_of(*overrides: str) -> Memory:
        recipe = load("llama3-8b-qlora", ("training.packing=false", *overrides))
        return memory(training_step_of(recipe, architecture(SHAPES["8b"])))

    wide = load_of()
    narrow = load_of("method.quantization.adapter_dtype=bfloat16")
    assert narrow.optimizer == wide.optimizer / 2
    assert wide.weights - narrow.weights == 2 * 41_943_040, "rank 16 on all linear layers"
    eight = ("training.optim=adamw_8bit", "method.quantization.adapter_dtype=bfloat16")
    assert load_of(*eight).optimizer == load_of(eight[0]).optimizer, "8 bits are 8 bits"
