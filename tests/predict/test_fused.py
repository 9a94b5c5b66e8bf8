"""Memory and time of fused layers, held against a plain training loop on one H200."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpclaunch.predict.families import architecture
from hpclaunch.predict.fused import layers_are_fused, loss_is_fused
from hpclaunch.predict.hardware import MeasuredHardware, hardware_of
from hpclaunch.predict.known_models import known_config
from hpclaunch.predict.memory import GIB, memory
from hpclaunch.predict.step_time import step_time
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.load import load
from hpclaunch.site.load import gpus, load_site

MODEL = architecture(known_config("meta-llama/Llama-3.1-8B") or {})
STEP = TrainingStep(MODEL, "lora", MODEL.adapter_parameters(16), "full", 1, 2, 4096, False)
FUSED = replace(STEP, fused_lora=True, fused_loss=True)


@pytest.mark.parametrize(
    ("step", "peak_gib", "seconds"),
    [
        (STEP, 63.6, 0.653),
        (FUSED, 39.6, 0.532),
        (replace(FUSED, micro_batch_size=4), 63.6, 1.050),
        (replace(FUSED, micro_batch_size=4, recomputed_mlps=True), 37.2, 1.251),
    ],
    ids=("PEFT", "fused", "fused, 16,384 tokens", "gate and up again"),
)
def test_prediction_and_h200_agree(step: TrainingStep, peak_gib: float, seconds: float) -> None:
    """Adapters in bf16, so that there is less of them; without the keys and values that PyTorch
    2.11's varlen_attn was given repeated: 3 GiB for 8,192 tokens."""
    machine, _ = hardware_of(load_site("generic"), gpus()["h200"], 1, 1, None, MeasuredHardware())
    assert memory(step).tensors / GIB == pytest.approx(peak_gib, rel=0.06)
    assert step_time(step, 1, machine).seconds == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize(
    ("words", "layers", "loss"),
    [
        ([], True, True),
        (["performance.fused_lora=false", "performance.fused_loss=false"], False, False),
        (["method.lora.lora_dropout=0.1"], False, True),
        (["method.lora.modules_to_save=[lm_head]"], True, False),
        (["training.torch_compile=true"], False, True),
        (["method.kind=full"], False, False),
        (["fsdp.version=1"], False, True),
    ],
    ids=str,
)
def test_a_recipe_is_predicted_as_it_runs(words: list[str], layers: bool, loss: bool) -> None:
    recipe = load("llama3.1-8b-lora", words)
    assert (layers_are_fused(recipe, MODEL), loss_is_fused(recipe)) == (layers, loss)
